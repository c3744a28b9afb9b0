#include "api/sdapi/sd_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>

#include "api/loras.h"
#include "api/sampler_names.h"
#include "api/sdapi/board.h"
#include "api/sdapi/prompt_tags.h"
#include "base/log.h"

namespace diffused::api {
namespace {

constexpr double kHiresScaleMax = 4;
constexpr double kMaskBlurMax = 64;
constexpr int kPaddingMax = 256;

Setter seed_setter(std::vector<std::optional<std::uint64_t>>& seeds) {
  return [&seeds](const json::value& value) -> Result<void> {
    if (!value.is_int64() && !value.is_uint64())
      return fail(ErrorCode::invalid_argument, "must be an integer", {}, "invalid_type");
    const bool random = value.is_int64() && value.get_int64() < 0;
    seeds = {random ? std::optional<std::uint64_t>() : value.to_number<std::uint64_t>()};
    return {};
  };
}

// A1111 counts 0 and 1, its clients also write true and false.
Setter truth_setter(bool& to) {
  return [&to](const json::value& value) -> Result<void> {
    if (value.is_bool()) {
      to = value.get_bool();
    } else if (value.is_number()) {
      to = value.to_number<double>() != 0;
    } else {
      return fail(ErrorCode::invalid_argument, "must be 0 or 1", {}, "invalid_type");
    }
    return {};
  };
}

Setter override_setter(SdRequest& request) {
  return [&request](const json::value& value) -> Result<void> {
    if (!value.is_object()) return fail(ErrorCode::invalid_argument, "must be an object", {}, "invalid_type");
    const json::object& settings = value.get_object();
    if (const auto* name = settings.if_contains("sd_model_checkpoint"); name != nullptr && name->is_string())
      request.checkpoint = std::string(name->get_string());
    const auto* skip = settings.if_contains("CLIP_stop_at_last_layers");
    if (skip != nullptr && skip->is_int64()) request.clip_skip = static_cast<int>(skip->get_int64());
    return {};
  };
}

Result<void> check_picture_count(const RequestLimits& limits, const SdRequest& request) {
  if (request.batch_size * request.n_iter <= limits.n_max) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("batch_size x n_iter is {}; at most {} pictures are made at once",
                          request.batch_size * request.n_iter, limits.n_max),
              "batch_size");
}

void choose_sampler(const PipelineInfo& model, const std::string& name, const std::string& spacing,
                    GenerateRequest& generate) {
  std::string& chosen = generate.scheduler;
  if (!name.empty()) {
    chosen = find_sampler(model, name);
    if (chosen.empty()) log(LogLevel::warning, "sampler_replaced", {{"asked_for", name}});
  }
  if (spacing.empty() || boost::beast::iequals(spacing, "automatic") || model.schedulers.empty()) return;
  const std::string spaced = with_spacing(model, chosen.empty() ? model.schedulers.front() : chosen, spacing);
  if (spaced.empty()) log(LogLevel::warning, "spacing_replaced", {{"asked_for", spacing}});
  if (!spaced.empty()) chosen = spaced;
}

Setter fit_setter(Fit& to) {
  return [&to](const json::value& value) -> Result<void> {
    // 3, stretching the latents, has no meaning for a picture that has yet to be encoded.
    to = value.get_int64() == 1 ? Fit::crop : value.get_int64() == 2 ? Fit::fill : Fit::stretch;
    return {};
  };
}

Setter blur_setter(double& to) {
  return [&to](const json::value& value) -> Result<void> {
    to = value.get_double();
    return {};
  };
}

}  // namespace

std::vector<Field> sd_text_fields(const RequestLimits& limits, SdRequest& request) {
  GenerateRequest& generate = request.image.generate;
  const auto most = static_cast<double>(limits.prompt_characters_max);
  const int side_max = limits.side_max;
  return {
      text("prompt", most, "What the picture shows; <lora:NAME:WEIGHT> in it chooses a LoRA.",
           into(generate.prompt)),
      text("negative_prompt", most, "What the picture does not show.", into(generate.negative_prompt)),
      loras_field(generate.loras),
      any("seed", R"({"type": ["integer", "null"]})", "Below zero: random. Picture i has seed + i.",
          seed_setter(request.image.seeds)),
      integer("steps", 1, limits.steps_max, "Denoising steps; absent: the model's own number.",
              into(generate.num_inference_steps)),
      number("cfg_scale", limits.guidance_scale_max, "How closely the prompt is followed.",
             into(generate.guidance_scale)),
      integer("width", 1, side_max, "Pixels, rounded down to a multiple.", into(generate.width)),
      integer("height", 1, side_max, "Pixels, rounded down to a multiple.", into(generate.height)),
      integer("batch_size", 1, limits.n_max, "Pictures in a batch.", into(request.batch_size)),
      integer("n_iter", 1, limits.n_max, "Batches.", into(request.n_iter)),
      also_named({"sampler_index"},
                 text("sampler_name", 64, "One of /sdapi/v1/samplers; unknown: the model's own.",
                      into(request.sampler))),
      text("scheduler", 64, "One of /sdapi/v1/schedulers; unknown: the sampler's own spacing of steps.",
           into(request.spacing)),
      text("model", 256, "A served model's name.", into(request.image.model)),
      any("override_settings", R"({"type": ["object", "null"]})",
          "sd_model_checkpoint and CLIP_stop_at_last_layers count.", override_setter(request)),
      integer("clip_skip", -1, 64, "CLIP's layers to stop at; 1: the last.", into(request.clip_skip)),
      choice("prompt_syntax", {"diffusers", "a1111"},
             "a1111: (word:1.3), [word], BREAK and prompts of any length; diffusers, or absent: plain text.",
             into(generate.prompt_syntax)),
      boolean("send_images", "Whether the pictures are in the answer.", into(request.send_images)),
      number("denoising_strength", 1, "How far a picture may leave the one it is made from.",
             into(generate.strength)),
      boolean("enable_hr", "Makes a larger picture from the first.", into(request.enable_hr)),
      number("hr_scale", kHiresScaleMax, "How many times larger.", into(request.hr_scale)),
      integer("hr_resize_x", 0, side_max, "Pixels; 0: by hr_scale.", into(request.hr_width)),
      integer("hr_resize_y", 0, side_max, "Pixels; 0: by hr_scale.", into(request.hr_height)),
      integer("hr_second_pass_steps", 0, limits.steps_max, "0: as the first pass.", into(request.hr_steps)),
  };
}

std::vector<Field> sd_image_fields(const RequestLimits& limits, SdRequest& request) {
  std::vector<Field> fields = sd_text_fields(limits, request);
  std::erase_if(
      fields, [](const Field& field) { return field.name.starts_with("hr_") || field.name == "enable_hr"; });
  fields.push_back(any("inpainting_mask_invert", R"({"type": ["integer", "boolean", "null"]})",
                       "1: black is repainted and not white.", truth_setter(request.mask_inverted)));
  fields.push_back(
      integer("resize_mode", 0, 3,
              "A picture of other proportions is 0, 3: stretched, 1: cut off, 2: filled up at its edges.",
              fit_setter(request.fit)));
  fields.push_back(number("mask_blur", kMaskBlurMax, "Pixels over which the old picture turns into the new.",
                          blur_setter(request.mask_blur)));
  fields.push_back(any("inpaint_full_res", R"({"type": ["integer", "boolean", "null"]})",
                       "1: only the masked part is made, in width x height, and put back into the picture.",
                       truth_setter(request.only_masked)));
  fields.push_back(integer("inpaint_full_res_padding", 0, kPaddingMax,
                           "Pixels round the masked part that are made with it.",
                           into(request.only_masked_padding)));
  fields.push_back(ignored("inpainting_fill", "Accepted; what is repainted starts from the picture itself."));
  return fields;
}

Result<ServedModel> choose_sd_model(const Api& api, const std::string& user, const SdRequest& request) {
  if (!request.checkpoint.empty()) return choose_model(api, request.checkpoint);
  if (!request.image.model.empty()) return choose_model(api, request.image.model);
  return choose_model(api, api.sd_board->checkpoint(user));
}

Result<ImageJob> complete_sd(const Api& api, const SdRequest& request, const ServedModel& model) {
  TRY_VOID(check_picture_count(api.options.limits, request));
  ImageRequest image = request.image;
  GenerateRequest& generate = image.generate;
  TRY(TaggedPrompt prompt, take_tags(generate.prompt));
  if (auto known = check_loras(model.info, prompt.loras); !known)
    return tl::unexpected(as_spelled(std::move(known).error(), {{"loras", "prompt"}}));
  generate.prompt = std::move(prompt.text);
  std::ranges::move(prompt.loras, std::back_inserter(generate.loras));
  // In a negative prompt they mean nothing, there as here.
  if (generate.negative_prompt) generate.negative_prompt = without_tags(*generate.negative_prompt);
  if (generate.width) generate.width = fitting_side(model.info, *generate.width);
  if (generate.height) generate.height = fitting_side(model.info, *generate.height);
  if (request.clip_skip) generate.clip_skip = std::max(0, *request.clip_skip - 1);
  choose_sampler(model.info, request.sampler, request.spacing, generate);
  image.n = request.batch_size * request.n_iter;
  image.prompt_required = false;
  image.codec = find_codec("png");
  return complete(api, std::move(image), model);
}

int fitting_side(const PipelineInfo& model, int side) {
  return std::max(side / model.size_multiple * model.size_multiple, model.size_multiple);
}

}  // namespace diffused::api
