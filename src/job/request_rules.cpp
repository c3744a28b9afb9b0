#include "job/request_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace diffused {
namespace {

constexpr int kStepsMax = 1000;

Result<void> check_side(const PipelineInfo& model, int side, const char* field) {
  if (side >= 1 && side <= model.max_side && side % model.size_multiple == 0) return {};
  return wrong_field(fmt::format("{} must be a multiple of {} from {} to {}, not {}", field,
                                 model.size_multiple, model.size_multiple, model.max_side, side),
                     field);
}

Result<void> check_loras(const PipelineInfo& model, const std::vector<LoraChoice>& choices) {
  for (const LoraChoice& choice : choices) {
    if (!std::ranges::binary_search(model.loras, choice.name))
      return wrong_field(fmt::format("this model has no LoRA '{}'", choice.name), "loras");
    if (!std::isfinite(choice.weight))
      return wrong_field(fmt::format("the weight of LoRA '{}' must be a number", choice.name), "loras");
  }
  return {};
}

Result<void> check_decoder(const PipelineInfo& model, const std::optional<std::string>& decoder) {
  if (!decoder || *decoder == kFullDecoder || std::ranges::count(model.decoders, *decoder) > 0) return {};
  if (*decoder != kTinyDecoder) return wrong_field("decoder must be full or tiny", "decoder");
  return fail(ErrorCode::unsupported, "this model has no tiny decoder", "decoder");
}

Result<void> check_pictures(const PipelineInfo& model, const GenerateRequest& request) {
  const bool only_inpaints = model.inpaint && !model.image_to_image && model.references_max == 0;
  if (only_inpaints && !(request.init_image && request.mask))
    return wrong_field("this model only inpaints: it needs an image and a mask",
                       request.init_image ? "mask" : "image");
  if (request.init_image && !model.image_to_image && !model.inpaint)
    return wrong_field("this model does not start from a picture", "image");
  if (request.init_image && !request.mask && !model.image_to_image)
    return wrong_field("this model starts from a picture only with a mask; it goes by reference pictures",
                       "image");
  if (request.mask && !request.init_image) return wrong_field("a mask needs an image", "mask");
  if (request.references.size() > static_cast<std::size_t>(model.references_max))
    return wrong_field(
        model.references_max == 0
            ? "this model takes no reference pictures"
            : fmt::format("this model takes at most {} reference pictures", model.references_max),
        "references");
  if (model.reference_needed && request.references.empty())
    return wrong_field("this model goes by a picture, such as one of edges or depths, that it needs",
                       "references");
  if (request.mask && request.references.size() > std::size_t{kReferencesWithMaskMax})
    return wrong_field(
        fmt::format("with a mask this model takes {} reference picture at most", kReferencesWithMaskMax),
        "references");
  return request.init_image ? check_share(request.strength, "strength") : Result<void>();
}

}  // namespace

void fill_in_defaults(const PipelineInfo& model, GenerateRequest& request) {
  request.width = request.width.value_or(model.default_width);
  request.height = request.height.value_or(model.default_height);
  if (const auto listed = listed_steps(model, request)) request.num_inference_steps = listed;
  request.num_inference_steps = request.num_inference_steps.value_or(model.default_steps);
  if (request.scheduler.empty()) request.scheduler = model.schedulers.front();
  request.cache = with_threshold(request.cache ? request.cache : model.default_cache);
}

std::optional<int> listed_steps(const PipelineInfo& model, const GenerateRequest& request) {
  if (!request.timesteps.empty()) return static_cast<int>(request.timesteps.size());
  if (request.sigmas.empty()) return std::nullopt;
  const auto count = static_cast<int>(request.sigmas.size());
  return model.flow_shift ? count : std::max(count - 1, 1);
}

Result<void> check_limits(const PipelineInfo& model, const GenerateRequest& request) {
  if (request.n() == 0) return wrong_field("n must be 1 or more", "n");
  TRY_VOID(check_side(model, *request.width, "width"));
  TRY_VOID(check_side(model, *request.height, "height"));
  TRY_VOID(check_range(*request.num_inference_steps, 1, kStepsMax, "num_inference_steps"));
  if (!request.variation_seeds.empty() && request.variation_seeds.size() != request.n())
    return wrong_field("there must be as many variation seeds as seeds", "variation_seeds");
  const double strength = request.variation_strength.value_or(0);
  if (!(strength >= 0 && strength <= 1))
    return wrong_field("variation_strength must be 0 to 1", "variation_strength");
  if (request.guidance_scale && !std::isfinite(*request.guidance_scale))
    return wrong_field("guidance_scale must be a number", "guidance_scale");
  if (std::ranges::find(model.schedulers, request.scheduler) == model.schedulers.end())
    return wrong_field(fmt::format("scheduler must be one of {}", fmt::join(model.schedulers, ", ")),
                       "scheduler");
  TRY_VOID(check_loras(model, request.loras));
  TRY_VOID(check_share(request.eta, "eta"));
  TRY_VOID(check_decoder(model, request.decoder));
  TRY_VOID(check_step_cache(request.cache.value_or(StepCache{}), model.caches));
  return check_pictures(model, request);
}

tl::unexpected<Error> wrong_field(std::string message, std::string field) {
  return fail(ErrorCode::invalid_argument, std::move(message), std::move(field));
}

Result<void> check_range(int value, int least, int most, const char* field) {
  if (value >= least && value <= most) return {};
  return wrong_field(fmt::format("{} must be {} to {}, not {}", field, least, most, value), field);
}

// Not the other way round, so that NaN is refused too.
Result<void> check_share(const std::optional<double>& value, const char* field) {
  if (!value || (*value >= 0 && *value <= 1)) return {};
  return wrong_field(fmt::format("{} must be 0 to 1", field), field);
}

}  // namespace diffused
