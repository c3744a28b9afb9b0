#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/loras.h"
#include "api/openai/image_request.h"
#include "api/openai/step_fields.h"

namespace diffused::api {
namespace {

constexpr std::string_view kSeedSchema =
    R"({"anyOf": [{"type": ["integer", "null"], "minimum": -1, "maximum": 18446744073709551615},
                  {"type": "array", "minItems": 1, "items":
                   {"type": ["integer", "null"], "minimum": -1, "maximum": 18446744073709551615}}]})";

// Schedules of less or more have no two different steps left.
constexpr double kFlowShiftMin = 0.01, kFlowShiftMax = 100;

std::string text_of(const json::value& value) { return std::string(value.get_string()); }

Result<std::optional<std::uint64_t>> parse_seed(const json::value& sent) {
  const json::value value = as_whole(sent);
  if (value.is_null()) return std::nullopt;
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<std::uint64_t>(value.get_int64());
  if (value.is_int64() && value.get_int64() == -1) return std::nullopt;
  return fail(ErrorCode::invalid_argument,
              "must be an integer from 0 to 2^64-1, or -1 for a random one, or a list of them", {},
              value.is_number() ? "invalid_value" : "invalid_type");
}

Result<void> set_seed(ImageRequest& request, const json::value& value) {
  if (!value.is_array()) {
    TRY(const auto seed, parse_seed(value));
    request.seeds = {seed};
    return {};
  }
  for (const json::value& item : value.get_array()) {
    TRY(const auto seed, parse_seed(item));
    request.seeds.push_back(seed);
  }
  // A list says how many pictures are meant; complete() holds it against n.
  if (request.seeds.empty()) return fail(ErrorCode::invalid_argument, "must not be empty");
  if (!request.n) request.n = static_cast<int>(std::min<std::size_t>(request.seeds.size(), 1 << 20));
  return {};
}

Result<void> set_response_format(ImageRequest& request, const json::value& value) {
  request.response_format = text_of(value) == "url" ? ResponseFormat::url : ResponseFormat::b64_json;
  return {};
}

Result<void> set_output_format(ImageRequest& request, const json::value& value) {
  request.codec = find_codec(text_of(value));
  return {};
}

Result<void> set_mask_mode(ImageRequest& request, const json::value& value) {
  const std::string mode = text_of(value);
  request.mask_mode = mode == "alpha"       ? MaskMode::alpha
                      : mode == "luminance" ? MaskMode::luminance
                                            : MaskMode::automatic;
  return {};
}

// A setter that needs the whole request.
using RequestSetter = Result<void> (*)(ImageRequest&, const json::value&);
Setter with(ImageRequest& request, RequestSetter set) {
  return [&request, set](const json::value& value) { return set(request, value); };
}

constexpr std::string_view kCacheSchema =
    R"({"type": ["object", "null"], "required": ["mode"], "properties":
        {"mode": {"type": "string"}, "threshold": {"type": "number", "exclusiveMinimum": 0, "maximum": 10}}})";

Result<void> set_cache(ImageRequest& request, const json::value& value) {
  const json::object* const object = value.if_object();
  const json::value* const mode = object ? object->if_contains("mode") : nullptr;
  const json::value* const threshold = object ? object->if_contains("threshold") : nullptr;
  if (!mode || !mode->is_string() || (threshold && !threshold->is_number()))
    return fail(ErrorCode::invalid_argument, R"(must be such as {"mode": "easy", "threshold": 0.1})", {},
                "invalid_type");
  StepCache cache{.mode = text_of(*mode)};
  if (threshold) cache.threshold = threshold->to_number<double>();
  request.generate.cache = cache;
  return {};
}

constexpr std::string_view kPixelsSchema =
    R"({"type": ["array", "null"], "minItems": 2, "maxItems": 2,
        "items": {"type": "integer", "minimum": 0, "maximum": 65536}})";
constexpr int kPixelsMax = 65536;

// [height, width] or [top, left].
Setter into_pixels(std::optional<std::array<int, 2>>& to) {
  return [&to](const json::value& value) -> Result<void> {
    std::vector<std::int64_t> sides;
    if (value.is_array()) {
      for (const json::value& item : value.get_array()) {
        const json::value side = as_whole(item);
        const bool fits = side.is_int64() && side.get_int64() >= 0 && side.get_int64() <= kPixelsMax;
        sides.push_back(fits ? side.get_int64() : -1);
      }
    }
    if (sides.size() != 2 || std::ranges::min(sides) < 0) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("must be two integers from 0 to {}, in a list", kPixelsMax), {},
                  value.is_array() ? "invalid_value" : "invalid_type");
    }
    to = std::array<int, 2>{static_cast<int>(sides[0]), static_cast<int>(sides[1])};
    return {};
  };
}

Setter size_setter(ImageRequest& request, int side_max) {
  return [&request, side_max](const json::value& value) -> Result<void> {
    const std::string text = text_of(value);
    if (text == "auto" || text.empty()) return {};
    TRY(const Size size, parse_size(text, side_max));
    request.generate.width = size.width;
    request.generate.height = size.height;
    return {};
  };
}

std::vector<Field> prompt_fields(const RequestLimits& limits, GenerateRequest& generate) {
  const auto most = static_cast<double>(limits.prompt_characters_max);
  Field prompt = text("prompt", most, "What the picture shows.", into(generate.prompt));
  prompt.minimum = 1;
  return {
      prompt,
      text("prompt_2", most, "For the second text encoder; absent: prompt.", into(generate.prompt_2)),
      text("prompt_3", most, "For the third text encoder; absent: prompt.", into(generate.prompt_3)),
      also_named(
          {"neg_prompt", "negativePrompt"},
          text("negative_prompt", most, "What the picture does not show.", into(generate.negative_prompt))),
      text("negative_prompt_2", most, "For the second text encoder.", into(generate.negative_prompt_2)),
      text("negative_prompt_3", most, "For the third text encoder.", into(generate.negative_prompt_3)),
  };
}

Field flow_shift_field(GenerateRequest& generate) {
  Field field =
      number("flow_shift", kFlowShiftMax, "How early a flow model spends its steps; absent: its own.",
             into(generate.flow_shift));
  field.minimum = kFlowShiftMin;
  return field;
}

std::vector<Field> picture_fields(const RequestLimits& limits, ImageRequest& request) {
  GenerateRequest& generate = request.generate;
  return {
      text("model", 256, "A served model's name or alias.", into(request.model)),
      also_named({"num_images_per_prompt", "batch_size", "batch_count", "num_images"},
                 integer("n", 1, limits.n_max, "How many pictures.", into(request.n))),
      // width and height come after size, which they override.
      also_named({"image_size"},
                 text("size", 32, "auto, or WIDTHxHEIGHT in pixels; multiples of what GET /v1/models tells.",
                      size_setter(request, limits.side_max))),
      integer("width", 1, limits.side_max, "Pixels; overrides size.", into(generate.width)),
      integer("height", 1, limits.side_max, "Pixels; overrides size.", into(generate.height)),
      also_named({"steps", "step", "sample_steps"},
                 integer("num_inference_steps", 1, limits.steps_max, "Denoising steps.",
                         into(generate.num_inference_steps))),
      also_named({"cfg_scale", "cfg", "guidance"},
                 number("guidance_scale", limits.guidance_scale_max,
                        "How closely the prompt is followed; 1 or less: no negative prompt.",
                        into(generate.guidance_scale))),
      number("true_cfg_scale", limits.guidance_scale_max,
             "For models that are told guidance_scale (FLUX): above 1, the negative prompt is used.",
             into(generate.true_cfg_scale)),
      also_named({"rng_seed"},
                 any("seed", kSeedSchema,
                     "Image i of n uses seed + i. -1 or null: random. A list: one for each image.",
                     with(request, set_seed))),
      also_named({"shift"}, flow_shift_field(generate)),
      integer("clip_skip", 0, 64, "How many of CLIP's last layers to leave out.", into(generate.clip_skip)),
      choice("prompt_syntax", {"diffusers", "a1111"},
             "a1111: (word:1.3), [word], BREAK and prompts of any length; diffusers: plain text.",
             into(generate.prompt_syntax)),
      integer("max_sequence_length", 1, 512, "Tokens for the T5 encoder.",
              into(generate.max_sequence_length)),
      also_named({"sampler", "sampler_name", "sample_method", "scheduler_name"},
                 text("scheduler", 64,
                      "A sampler that GET /v1/models tells, by its class's name or A1111's or k-diffusion's.",
                      into(generate.scheduler))),
      choice("decoder", {"full", "tiny"},
             "tiny: a small decoder, where GET /v1/models tells one; less work and nearly as good.",
             into(generate.decoder)),
      any("cache", kCacheSchema,
          "Steps that are foretold and not made, by a mode that GET /v1/models tells; absent: the server's.",
          with(request, set_cache)),
      loras_field(generate.loras),
  };
}

// What only some families of models know; the others leave it alone.
std::vector<Field> condition_fields(GenerateRequest& generate) {
  const auto pixels = [](std::string_view name, std::string_view description,
                         std::optional<std::array<int, 2>>& to) {
    return any(name, kPixelsSchema, description, into_pixels(to));
  };
  return {
      number("guidance_rescale", 1, "SD and SDXL: against overexposure by guidance.",
             into(generate.guidance_rescale)),
      number("cfg_normalization", 100,
             "Z-Image: how many times its unguided norm the network's result may have; 0 or absent: any.",
             into(generate.cfg_normalization)),
      number("cfg_truncation", 1,
             "Z-Image: up to which share of the way from noise to picture there is guidance; absent: 1.",
             into(generate.cfg_truncation)),
      number("denoising_start", 1,
             "SDXL, with an image that another model began: the share of the way at which it stands.",
             into(generate.denoising_start)),
      number("denoising_end", 1, "SDXL: the share of the way from noise to picture at which to end.",
             into(generate.denoising_end)),
      number("aesthetic_score", 10, "SDXL's refiner: how well the picture is to please; absent: 6.",
             into(generate.aesthetic_score)),
      number("negative_aesthetic_score", 10, "SDXL's refiner: the same of the negative prompt; absent: 2.5.",
             into(generate.negative_aesthetic_score)),
      pixels("original_size", "SDXL: height and width the picture seems to come from; absent: its own.",
             generate.original_size),
      pixels("crops_coords_top_left", "SDXL: where it seems to be cropped; absent: [0, 0].",
             generate.crops_coords_top_left),
      pixels("target_size", "SDXL: height and width it is meant to have; absent: its own.",
             generate.target_size),
      pixels("negative_original_size", "SDXL: what original_size it is not.",
             generate.negative_original_size),
      pixels("negative_crops_coords_top_left", "SDXL: how it is not cropped.",
             generate.negative_crops_coords_top_left),
      pixels("negative_target_size", "SDXL: what target_size it is not.", generate.negative_target_size),
  };
}

// The words of OpenAI's that this server can do, and those that it takes for one of them unless it is to be
// strict.
Field background_field(bool strict) {
  if (!strict) return ignored("background", "Accepted; pictures are opaque.");
  return choice("background", {"auto", "opaque"}, "Pictures are opaque.",
                [](const json::value&) { return Result<void>(); });
}
Field quality_field(bool strict, ImageRequest& request) {
  const char* description =
      "low, medium, high, xhigh or max: fewer or more steps than the model's own number.";
  if (!strict) return text("quality", 64, description, into(request.quality_preset));
  return choice("quality", {"auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"}, description,
                into(request.quality_preset));
}

std::vector<Field> answer_fields(const RequestLimits& limits, ImageRequest& request) {
  return {
      choice("response_format", {"url", "b64_json"}, "How the picture is sent.",
             with(request, set_response_format)),
      choice("output_format", {"png", "jpeg", "jpg", "webp"}, "The file format.",
             with(request, set_output_format)),
      integer("output_compression", 0, 100, "Quality of JPEG and WebP.", into(request.quality)),
      quality_field(limits.strict, request),
      background_field(limits.strict),
      ignored("moderation"),
      ignored("style"),
      boolean("stream", "Answer as server-sent events.", into(request.stream)),
      integer("partial_images", 0, 3, "Unfinished pictures to stream.", into(request.partial_images)),
      boolean("background_job", "Answer at once with a job; its pictures are made later.",
              into(request.background_job)),
      boolean("progress_events", "Stream an event per denoising step.", into(request.progress_events)),
      ignored("user"),
      ignored("complexity"),
      ignored("frame_count", "Accepted; no picture here moves."),
      ignored("frame_duration_ms", "Accepted; no picture here moves."),
      ignored("svg", "Accepted; no picture here is an SVG."),
      text("safety_identifier", 512, "Echoed.", into(request.safety_identifier)),
  };
}

}  // namespace

Result<Size> parse_size(std::string_view text, int side_max) {
  const std::size_t cross = text.find_first_of("xX*");
  Size size{};
  const auto parse = [](std::string_view digits, int& side) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), side);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (cross == std::string_view::npos || !parse(text.substr(0, cross), size.width) ||
      !parse(text.substr(cross + 1), size.height)) {
    return fail(ErrorCode::invalid_argument, "must be auto or WIDTHxHEIGHT in pixels, such as 1024x1024");
  }
  if (size.width < 1 || size.height < 1 || size.width > side_max || size.height > side_max)
    return fail(ErrorCode::invalid_argument, fmt::format("must have sides of 1 to {} pixels", side_max));
  return size;
}

std::vector<Field> generation_fields(const RequestLimits& limits, ImageRequest& request) {
  std::vector<Field> fields;
  for (auto& group : {prompt_fields(limits, request.generate), picture_fields(limits, request),
                      step_fields(limits, request.generate), condition_fields(request.generate),
                      answer_fields(limits, request)})
    fields.insert(fields.end(), group.begin(), group.end());
  return fields;
}

std::vector<Field> edit_fields(const RequestLimits& limits, ImageRequest& request) {
  std::vector<Field> fields = generation_fields(limits, request);
  fields.push_back(
      also_named({"denoising_strength", "image_strength"},
                 number("strength", 1, "How far the picture may leave the image: 0 not at all, 1 altogether.",
                        into(request.generate.strength))));
  fields.push_back(choice("mask_mode", {"auto", "alpha", "luminance"},
                          "What a mask marks for repainting: transparency (alpha) or white (luminance).",
                          with(request, set_mask_mode)));
  fields.push_back(ignored("input_fidelity"));
  return fields;
}

}  // namespace diffused::api
