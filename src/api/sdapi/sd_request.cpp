#include "api/sdapi/sd_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/listed_fields.h"
#include "api/loras.h"
#include "api/sdapi/board.h"
#include "api/sdapi/prompt_tags.h"
#include "base/ids.h"
#include "parameters/sampler_names.h"

namespace diffused::api {
namespace {

constexpr double kHiresScaleMax = 4;
constexpr double kMaskBlurMax = 64;
constexpr int kPaddingMax = 256;

Setter seed_setter(std::vector<std::optional<std::uint64_t>>& seeds) {
  return [&seeds](const json::value& sent) -> Result<void> {
    const json::value value = as_whole(sent);
    if (!value.is_int64() && !value.is_uint64())
      return fail(ErrorCode::invalid_argument, "must be an integer", {}, "invalid_type");
    const bool random = value.is_int64() && value.get_int64() < 0;
    seeds = {random ? std::optional<std::uint64_t>() : value.to_number<std::uint64_t>()};
    return {};
  };
}

// "#rrggbb".
Setter colour_setter(std::array<std::uint8_t, 3>& to) {
  return [&to](const json::value& value) -> Result<void> {
    const std::string text(value.get_string());
    unsigned colour = 0;
    const char* const end = text.data() + text.size();
    const bool hex =
        text.size() == 7 && text[0] == '#' && std::from_chars(text.data() + 1, end, colour, 16).ptr == end;
    if (!hex) return fail(ErrorCode::invalid_argument, "must be a colour like #ffffff", {}, "invalid_value");
    to = {static_cast<std::uint8_t>(colour >> 16), static_cast<std::uint8_t>(colour >> 8),
          static_cast<std::uint8_t>(colour)};
    return {};
  };
}

Setter names_setter(std::vector<std::string>& to) {
  return [&to](const json::value& value) -> Result<void> {
    const auto* list = value.if_array();
    if (list == nullptr ||
        !std::ranges::all_of(*list, [](const json::value& name) { return name.is_string(); }))
      return fail(ErrorCode::invalid_argument, "must be a list of names", {}, "invalid_type");
    for (const json::value& name : *list) to.emplace_back(name.get_string());
    return {};
  };
}

std::vector<Field> override_fields(SdRequest& request) {
  return {text("sd_model_checkpoint", 256, "A served model's name.", into(request.checkpoint)),
          integer("CLIP_stop_at_last_layers", -1, 64, "As clip_skip.", into(request.clip_skip)),
          choice("samples_format", {"png", "jpg", "jpeg", "webp"}, "The pictures' file format.",
                 into(request.samples_format)),
          integer("jpeg_quality", 1, 100, "Of JPEG and WebP.", into(request.jpeg_quality)),
          text("img2img_background_color", 64, "#rrggbb: what shows through a transparent picture.",
               colour_setter(request.paper))};
}

// One seed for all pictures, and a subseed for each.
void vary(const SdRequest& request, GenerateRequest& generate) {
  std::fill(generate.seeds.begin(), generate.seeds.end(), generate.seeds.front());
  const bool random = request.subseed.empty() || !request.subseed.front();
  const std::uint64_t first = random ? random_seed() : *request.subseed.front();
  for (std::size_t i = 0; i < generate.n(); ++i) generate.variation_seeds.push_back(first + i);
  generate.variation_strength = request.subseed_strength;
}

Result<void> check_picture_count(const RequestLimits& limits, const SdRequest& request) {
  if (request.batch_size * request.n_iter <= limits.n_max) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("batch_size x n_iter is {}; at most {} pictures are made at once",
                          request.batch_size * request.n_iter, limits.n_max),
              "batch_size");
}

void settle_sampler(const PipelineInfo& model, const SdRequest& request, GenerateRequest& generate,
                    std::vector<std::string>& warnings) {
  SamplerChoice choice = choose_sampler(model, request.sampler, request.spacing);
  if (choice.name.empty()) {
    choice = choose_sampler(model, {}, request.spacing);
    warnings.push_back(fmt::format("the sampler \"{}\" is not served; {} was used", request.sampler,
                                   sampler_label(choice.name)));
  }
  if (!choice.missing.empty())
    warnings.push_back(fmt::format("the schedule type \"{}\" is not served with {}; its own was used",
                                   choice.missing, sampler_label(choice.name)));
  generate.scheduler = std::move(choice.name);
}

void apply_styles(const std::vector<SdStyle>& styles, const SdRequest& request, GenerateRequest& generate,
                  std::vector<std::string>& warnings) {
  for (const std::string& name : request.styles) {
    const auto style = std::ranges::find(styles, name, &SdStyle::name);
    if (style == styles.end()) {
      warnings.push_back(fmt::format("there is no style \"{}\"", name));
      continue;
    }
    generate.prompt = styled(style->prompt, generate.prompt);
    generate.negative_prompt = styled(style->negative_prompt, generate.negative_prompt.value_or(""));
  }
}

// The LoRAs that a prompt's tags name, as the model calls them.
Result<void> settle_loras(const PipelineInfo& model, TaggedPrompt& prompt, std::vector<LoraChoice>& loras,
                          std::vector<std::string>& warnings) {
  for (LoraChoice& lora : prompt.loras) {
    TRY(auto own, find_lora(model, lora.name));
    if (own) {
      lora.name = *std::move(own);
      loras.push_back(std::move(lora));
    } else {
      warnings.push_back(fmt::format("there is no LoRA \"{}\"", lora.name));
    }
  }
  std::ranges::move(prompt.ignored, std::back_inserter(warnings));
  if (auto few = check_loras(model, loras); !few)
    return tl::unexpected(as_spelled(std::move(few).error(), {{"loras", "prompt"}}));
  return {};
}

Setter fit_setter(Fit& to) {
  return [&to](const json::value& value) -> Result<void> {
    // 3, stretching the latents, has no meaning for a picture that has yet to be encoded.
    to = value.get_int64() == 1 ? Fit::crop : value.get_int64() == 2 ? Fit::fill : Fit::stretch;
    return {};
  };
}

Setter number_setter(double& to) {
  return [&to](const json::value& value) -> Result<void> {
    to = value.get_double();
    return {};
  };
}

}  // namespace

std::vector<Field> sd_text_fields(const RequestLimits& limits, SdRequest& request) {
  const std::vector<Field> listed = listed_fields(limits, request.image.generate, /*with_picture=*/true);
  const auto own_word = [&](std::string_view name, std::string_view word, std::string_view description) {
    return renamed(listed, name, word, description);
  };
  const int side_max = limits.side_max;
  return {
      own_word("prompt", "prompt", "What the picture shows; <lora:NAME:WEIGHT> in it chooses a LoRA."),
      own_word("negative_prompt", "negative_prompt", "What the picture does not show."),
      any("styles", R"({"type": ["array", "null"], "items": {"type": "string"}})",
          "Of /sdapi/v1/prompt-styles.", names_setter(request.styles)),
      also_named({"lora", "lora_alphas"},
                 own_word("loras", "loras", "LoRAs of the model to use, all at once.")),
      any("seed", R"({"type": ["integer", "null"]})", "Below zero: random. Picture i has seed + i.",
          seed_setter(request.image.seeds)),
      any("subseed", R"({"type": ["integer", "null"]})",
          "Of the noise towards which the pictures' own is turned. Below zero: random. Picture i has subseed "
          "+ i.",
          seed_setter(request.subseed)),
      number("subseed_strength", 1, "How far it is turned; above 0 all pictures have the same seed.",
             number_setter(request.subseed_strength)),
      own_word("num_inference_steps", "steps", "Denoising steps; absent: the model's own number."),
      own_word("guidance_scale", "cfg_scale", "How closely the prompt is followed."),
      own_word("eta", "eta", "DDIM: how much noise each step adds; absent: none."),
      own_word("width", "width", "Pixels, rounded down to a multiple."),
      own_word("height", "height", "Pixels, rounded down to a multiple."),
      integer("batch_size", 1, limits.n_max, "Pictures in a batch.", into(request.batch_size)),
      integer("n_iter", 1, limits.n_max, "Batches.", into(request.n_iter)),
      also_named({"sampler_index"},
                 text("sampler_name", 64, "One of /sdapi/v1/samplers; unknown: the model's own.",
                      into(request.sampler))),
      text("scheduler", 64, "One of /sdapi/v1/schedulers; unknown: the sampler's own spacing of steps.",
           into(request.spacing)),
      text("model", 256, "A served model's name.", into(request.image.model)),
      any("override_settings", R"({"type": ["object", "null"]})",
          "sd_model_checkpoint, CLIP_stop_at_last_layers, samples_format (png, jpg or webp), jpeg_quality "
          "and "
          "img2img_background_color count.",
          into_members(override_fields(request))),
      integer("clip_skip", -1, 64, "CLIP's layers to stop at; 1: the last.", into(request.clip_skip)),
      own_word(
          "prompt_syntax", "prompt_syntax",
          "a1111: (word:1.3), [word], BREAK and prompts of any length; diffusers, or absent: plain text."),
      boolean("send_images", "Whether the pictures are in the answer.", into(request.send_images)),
      own_word("strength", "denoising_strength", "How far a picture may leave the one it is made from."),
      boolean("enable_hr", "Makes a larger picture from the first.", into(request.enable_hr)),
      number("hr_scale", kHiresScaleMax, "How many times larger.", into(request.hr_scale)),
      text("hr_upscaler", 256, "One of /sdapi/v1/upscalers; unknown: Lanczos.", into(request.hr_upscaler)),
      integer("hr_resize_x", 0, side_max, "Pixels; 0: by hr_scale.", into(request.hr_width)),
      integer("hr_resize_y", 0, side_max, "Pixels; 0: by hr_scale.", into(request.hr_height)),
      integer("hr_second_pass_steps", 0, limits.steps_max, "0: as the first pass.", into(request.hr_steps)),
  };
}

std::vector<Field> sd_image_fields(const RequestLimits& limits, SdRequest& request) {
  std::vector<Field> fields = sd_text_fields(limits, request);
  std::erase_if(
      fields, [](const Field& field) { return field.name.starts_with("hr_") || field.name == "enable_hr"; });
  fields.push_back(
      boolean("inpainting_mask_invert", "1: black is repainted and not white.", into(request.mask_inverted)));
  fields.push_back(boolean("mask_round", "Whether a transparent mask is all or nothing at each pixel.",
                           into(request.mask_rounded)));
  fields.push_back(
      integer("resize_mode", 0, 3,
              "A picture of other proportions is 0, 3: stretched, 1: cut off, 2: filled up at its edges.",
              fit_setter(request.fit)));
  fields.push_back(number("mask_blur", kMaskBlurMax, "Pixels over which the old picture turns into the new.",
                          number_setter(request.mask_blur)));
  fields.push_back(
      boolean("inpaint_full_res",
              "1: only the masked part is made, in width x height, and put back into the picture.",
              into(request.only_masked)));
  fields.push_back(integer("inpaint_full_res_padding", 0, kPaddingMax,
                           "Pixels round the masked part that are made with it.",
                           into(request.only_masked_padding)));
  fields.push_back(ignored("inpainting_fill", "Accepted; what is repainted starts from the picture itself."));
  return fields;
}

Result<ServedModel> choose_sd_model(const Api& api, const std::string& user, const SdRequest& request) {
  std::string name = request.checkpoint.empty() ? request.image.model : request.checkpoint;
  if (name.empty()) name = api.sd_board->options(user).checkpoint;
  return choose_model(api, model_meant(api.options.keys.get(), user, name));
}

Result<ImageJob> complete_sd(const Api& api, const SdRequest& request, const ServedModel& model,
                             std::vector<std::string>& warnings) {
  TRY_VOID(check_picture_count(api.limits(), request));
  ImageRequest image = request.image;
  GenerateRequest& generate = image.generate;
  apply_styles(api.options.sd_styles, request, generate, warnings);
  TaggedPrompt prompt = take_tags(generate.prompt);
  TRY_VOID(settle_loras(model.info, prompt, generate.loras, warnings));
  generate.prompt = std::move(prompt.text);
  // In a negative prompt they mean nothing, there as here.
  if (generate.negative_prompt) generate.negative_prompt = without_tags(*generate.negative_prompt);
  generate.width = fitting_side(model.info, generate.width.value_or(model.info.default_width));
  generate.height = fitting_side(model.info, generate.height.value_or(model.info.default_height));
  if (request.clip_skip) generate.clip_skip = std::max(0, *request.clip_skip - 1);
  settle_sampler(model.info, request, generate, warnings);
  image.n = request.batch_size * request.n_iter;
  image.prompt_required = false;
  image.codec = find_codec(request.samples_format.empty() ? "png" : request.samples_format);
  image.quality = request.jpeg_quality;
  if (!generate.prompt_syntax && !api.options.sd_prompt_syntax.empty())
    generate.prompt_syntax = api.options.sd_prompt_syntax;
  if (api.limits().strict && !warnings.empty())
    return fail(ErrorCode::invalid_argument, warnings.front(), {}, "unsupported_value");
  TRY(ImageJob job, complete(api, std::move(image), model));
  if (request.subseed_strength > 0) vary(request, job.request.generate);
  return job;
}

int fitting_side(const PipelineInfo& model, int side) {
  return std::max(side / model.size_multiple * model.size_multiple, model.size_multiple);
}

}  // namespace diffused::api
