#include "pipelines/latent_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "pipelines/latent_source.h"
#include "tokenizers/weighted_prompt.h"

namespace diffused::pipelines {
namespace {

constexpr double kWordWeightMax = 100;

double default_guidance_scale(const LatentModel& model, const GenerateRequest& request) {
  const FamilyTraits& traits = model.family->traits();
  std::optional<double> scale;
  if (request.init_image) scale = request.mask ? traits.inpaint_guidance_scale : traits.image_guidance_scale;
  return model.own_guidance_scale || !scale ? model.info.default_guidance_scale : *scale;
}

// A picture that is repainted has the size that one to go by would have; where the family says so, any
// picture takes its size after one to go by.
Result<void> check_references(const LatentModel& model, GenerateRequest& request) {
  if (model.info.references_max == 0) return {};  // any are refused later, with the others
  const FamilyTraits& traits = model.family->traits();
  if (std::ssize(request.references) < traits.references_least) {
    return wrong_field("this model changes pictures: it needs one to go by, a reference", "references");
  }
  const bool goes_by_source = traits.source_reference != SourceReference::never;
  if (goes_by_source && request.mask && request.init_image && !(request.width && request.height)) {
    const auto fit = model.family->reference_fit(request.init_image->width, request.init_image->height);
    if (!fit) return fail(fit.error().code, fit.error().message, "image");
    request.width = request.width.value_or(fit->width);
    request.height = request.height.value_or(fit->height);
  }
  std::vector<ReferenceFit> fits;
  for (const auto& reference : request.references) {
    const auto fit = model.family->reference_fit(reference->width, reference->height);
    if (!fit) return fail(fit.error().code, fit.error().message, "references");
    fits.push_back(*fit);
  }
  if (fits.empty() || traits.sized == FamilyTraits::Sized::own) return {};
  const ReferenceFit& fit = traits.sized == FamilyTraits::Sized::first_reference ? fits.front() : fits.back();
  request.width = request.width.value_or(fit.width);
  request.height = request.height.value_or(fit.height);
  return {};
}

void fill_in(const LatentModel& model, GenerateRequest& request) {
  const FamilyTraits& traits = model.family->traits();
  fill_in_defaults(model.info, request);
  if (!request.guidance_scale) request.guidance_scale = default_guidance_scale(model, request);
  // Where it means nothing, it is ignored.
  request.clip_skip = traits.clip_skip_max ? request.clip_skip.value_or(0) : 0;
  if (!request.init_image) return;
  request.strength =
      request.strength.value_or(request.mask ? traits.inpaint_strength : traits.image_strength);
}

Result<void> check_weights(const std::optional<std::string>& prompt, const char* field) {
  if (!prompt) return {};
  for (const tokenizers::WeightedText& piece : tokenizers::parse_weighted_prompt(*prompt)) {
    // Not the other way round, so that NaN is refused too.
    if (!(std::abs(piece.weight) <= kWordWeightMax))
      return wrong_field(fmt::format("weights of words go from -{0} to {0}", kWordWeightMax), field);
  }
  return {};
}

Result<void> check_prompts(const GenerateRequest& r) {
  if (r.prompt_syntax && *r.prompt_syntax != "diffusers" && !is_weighted(r))
    return wrong_field("prompt_syntax must be diffusers or a1111", "prompt_syntax");
  if (!is_weighted(r)) return {};
  TRY_VOID(check_weights(r.prompt, "prompt"));
  TRY_VOID(check_weights(r.prompt_2, "prompt_2"));
  TRY_VOID(check_weights(r.prompt_3, "prompt_3"));
  TRY_VOID(check_weights(r.negative_prompt, "negative_prompt"));
  TRY_VOID(check_weights(r.negative_prompt_2, "negative_prompt_2"));
  return check_weights(r.negative_prompt_3, "negative_prompt_3");
}

// The timestep, as networks are told it, at this share of the way from noise to picture; as Python rounds.
double timestep_at(double share) {
  constexpr double kTimestepsTrained = 1000;
  return std::nearbyint(kTimestepsTrained - share * kTimestepsTrained);
}

// How many of the last calls are for less noise than there is at this share of the way.
int calls_after(const samplers::Schedule& schedule, double share) {
  const double cutoff = timestep_at(share);
  return static_cast<int>(
      std::ranges::count_if(schedule.timesteps, [cutoff](float timestep) { return timestep < cutoff; }));
}

// The first of those; of a method that makes two calls for a step one before it, where that is the step's.
int first_call_after(const samplers::Schedule& schedule, double share) {
  int made = calls_after(schedule, share);
  if (schedule.calls_per_step == 2 && made % 2 == 0) ++made;
  return std::max(schedule.calls() - made, 0);
}

Result<void> check_parts(const GenerateRequest& request) {
  const auto check = [](const std::optional<double>& share, const char* field) -> Result<void> {
    if (!share || (*share > 0 && *share < 1)) return {};
    return wrong_field(fmt::format("{} must be more than 0 and less than 1", field), field);
  };
  TRY_VOID(check(request.denoising_start, "denoising_start"));
  TRY_VOID(check(request.denoising_end, "denoising_end"));
  if (request.init_image && request.denoising_start && request.denoising_end &&
      *request.denoising_start >= *request.denoising_end)
    return wrong_field("denoising_start must be less than denoising_end", "denoising_start");
  return {};
}

Result<void> check(const LatentModel& model, const GenerateRequest& request) {
  TRY_VOID(check_limits(model.info, request));
  TRY_VOID(check_prompts(request));
  TRY_VOID(check_parts(request));
  return check_range(*request.clip_skip, 0, model.family->traits().clip_skip_max.value_or(0), "clip_skip");
}

std::vector<DecodeUnit> decode_units(const std::vector<double>& stage_flops, double flops_max) {
  std::vector<DecodeUnit> units;
  for (const double flops : stage_flops) {
    if (units.empty() || units.back().flops + flops > flops_max) units.emplace_back();
    ++units.back().stages;
    units.back().flops += flops;
  }
  return units;
}

}  // namespace

void or_first(std::optional<std::string>& prompt, const std::string& first) {
  if (!prompt || prompt->empty()) prompt = first;
}

Result<GenerateRequest> resolve_request(const LatentModel& model, GenerateRequest request) {
  TRY_VOID(check_references(model, request));
  fill_in(model, request);
  TRY_VOID(check(model, request));
  TRY_VOID(model.family->complete(request));
  TRY_VOID(schedule_of(model, request));
  return request;
}

bool is_weighted(const GenerateRequest& request) { return request.prompt_syntax == "a1111"; }

bool begins_later(const LatentModel& model, const GenerateRequest& resolved) {
  return model.family->traits().parts_of_run && resolved.init_image && resolved.denoising_start;
}

LatentSize size_of(const LatentModel& model, const GenerateRequest& resolved) {
  const std::int64_t pixels_per_latent = model.autoencoder->format().pixels_per_latent;
  return {.height = *resolved.height / pixels_per_latent, .width = *resolved.width / pixels_per_latent};
}

std::vector<ReferenceFit> reference_fits(const LatentModel& model, const GenerateRequest& resolved) {
  std::vector<ReferenceFit> fits;
  if (model.family->traits().controls) return fits;
  for (const auto& reference : resolved.references)
    fits.push_back(model.family->reference_fit(reference->width, reference->height).value());
  return fits;
}

std::vector<LatentSize> reference_sizes(const LatentModel& model, const GenerateRequest& resolved) {
  const std::int64_t scale = model.autoencoder->format().pixels_per_latent;
  std::vector<LatentSize> sizes;
  if (model.family->traits().goes_by_source(resolved)) sizes.push_back(size_of(model, resolved));
  for (const ReferenceFit& fit : reference_fits(model, resolved))
    sizes.push_back({.height = fit.height / scale, .width = fit.width / scale});
  return sizes;
}

LatentWork work_of(const LatentModel& model, const GenerateRequest& resolved) {
  const LatentSize size = size_of(model, resolved);
  const FamilyWork prompt = model.family->work(resolved, size);
  const auto guidance = model.family->guidance(resolved);
  const int prompts = guidance ? 2 : 1;
  LatentWork work;
  work.tokens_key = prompt.tokens_key;
  work.encode_flops = prompts * prompt.encode_flops;
  work.step_flops = prompts * prompt.network_flops;
  if (guidance && !guidance->skip_layers.empty()) work.skip_flops = prompt.network_flops;
  const models::LatentDecoder& decoder = model.decoder(resolved);
  work.decode_units = decode_units(decoder.decode_flops(size.height, size.width), work.step_flops);
  for (const DecodeUnit& unit : work.decode_units) work.decode_flops += unit.flops;
  // The autoencoder's encoder is as large as its decoder, or smaller.
  std::vector<LatentSize> encoded = reference_sizes(model, resolved);
  if (resolved.init_image && !model.family->traits().goes_by_source(resolved)) encoded.push_back(size);
  if (model.family->traits().controls) encoded.push_back(size);
  for (const LatentSize& picture : encoded) {
    for (const double flops : model.autoencoder->decode_flops(picture.height, picture.width))
      work.pictures_flops += flops;
  }
  work.encode_flops += work.pictures_flops;
  return work;
}

std::shared_ptr<const samplers::Sampler> find_sampler(const LatentModel& model,
                                                      const GenerateRequest& request) {
  const SamplerList& samplers = request.mask ? model.masked_samplers : model.samplers;
  const auto found =
      std::ranges::find(samplers, request.scheduler, [](const auto& entry) { return entry.first; });
  return found == samplers.end() ? nullptr : found->second;
}

Result<samplers::Schedule> schedule_of(const LatentModel& model, const GenerateRequest& resolved) {
  const auto sampler = find_sampler(model, resolved);
  samplers::ScheduleRequest wanted = model.family->schedule_request(resolved, size_of(model, resolved));
  const bool custom = !resolved.sigmas.empty() || !resolved.timesteps.empty();
  if (custom || !sampler->takes_sigmas()) wanted.sigmas = resolved.sigmas;
  wanted.timesteps = resolved.timesteps;
  wanted.shift = resolved.flow_shift;
  const StrengthRule rule = model.family->traits().strength_rule;
  if (resolved.init_image && rule == StrengthRule::shorten_schedule) wanted.strength = *resolved.strength;
  auto schedule = sampler->schedule(wanted);
  if (!schedule) {
    Error error = std::move(schedule).error();
    if (error.field.empty()) error.field = "num_inference_steps";
    return tl::unexpected<Error>(std::move(error));
  }
  schedule->eta = resolved.eta.value_or(0);
  if (begins_later(model, resolved)) {
    schedule->begin = first_call_after(*schedule, *resolved.denoising_start);
  } else if (resolved.init_image) {
    // Diffusers counts the calls of a method that makes two for a step, where the levels are the caller's.
    const int steps = custom ? schedule->calls() : *resolved.num_inference_steps;
    const int left_out = steps_left_out(rule, steps, *resolved.strength);
    schedule->begin = std::min(left_out * schedule->calls_per_step, schedule->calls());
  }
  if (model.family->traits().parts_of_run && resolved.denoising_end) {
    schedule->left_out = calls_after(*schedule, *resolved.denoising_end);
    if (schedule->end() <= schedule->begin && schedule->begin < schedule->calls())
      return wrong_field("denoising_end leaves no step", "denoising_end");
  }
  return schedule;
}

}  // namespace diffused::pipelines
