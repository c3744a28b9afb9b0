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

// Where the family says so, the picture that is made takes its size after one to go by.
Result<void> check_references(const LatentModel& model, GenerateRequest& request) {
  if (model.info.references_max == 0) return {};  // refused later, with the others
  const FamilyTraits& traits = model.family->traits();
  if (std::ssize(request.references) < traits.references_least) {
    return wrong_field("this model changes pictures: it needs one to go by, a reference", "references");
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

Result<void> check(const LatentModel& model, const GenerateRequest& request) {
  TRY_VOID(check_limits(model.info, request));
  TRY_VOID(check_prompts(request));
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

LatentSize size_of(const LatentModel& model, const GenerateRequest& resolved) {
  const std::int64_t pixels_per_latent = model.autoencoder->format().pixels_per_latent;
  return {.height = *resolved.height / pixels_per_latent, .width = *resolved.width / pixels_per_latent};
}

std::vector<ReferenceFit> reference_fits(const LatentModel& model, const GenerateRequest& resolved) {
  std::vector<ReferenceFit> fits;
  for (const auto& reference : resolved.references)
    fits.push_back(model.family->reference_fit(reference->width, reference->height).value());
  return fits;
}

std::vector<LatentSize> reference_sizes(const LatentModel& model, const GenerateRequest& resolved) {
  const std::int64_t scale = model.autoencoder->format().pixels_per_latent;
  std::vector<LatentSize> sizes;
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
  work.decode_units = decode_units(model.autoencoder->decode_flops(size.height, size.width), work.step_flops);
  for (const DecodeUnit& unit : work.decode_units) work.decode_flops += unit.flops;
  // The autoencoder's encoder is as large as its decoder, or smaller.
  if (resolved.init_image) work.pictures_flops += work.decode_flops;
  for (const LatentSize& reference : reference_sizes(model, resolved)) {
    for (const double flops : model.autoencoder->decode_flops(reference.height, reference.width))
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
  auto schedule = sampler->schedule(wanted);
  if (!schedule) {
    Error error = std::move(schedule).error();
    if (error.field.empty()) error.field = "num_inference_steps";
    return tl::unexpected<Error>(std::move(error));
  }
  schedule->eta = resolved.eta.value_or(0);
  if (!resolved.init_image) return schedule;
  // Diffusers counts the calls of a method that makes two for a step, where the levels are the caller's.
  const int steps = custom ? schedule->calls() : *resolved.num_inference_steps;
  const int left_out = steps_left_out(model.family->traits().strength_rule, steps, *resolved.strength);
  schedule->begin = std::min(left_out * schedule->calls_per_step, schedule->calls());
  return schedule;
}

}  // namespace diffused::pipelines
