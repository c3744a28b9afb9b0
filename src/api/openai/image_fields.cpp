#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/listed_fields.h"
#include "api/openai/image_request.h"

namespace diffused::api {
namespace {

constexpr std::string_view kSeedSchema =
    R"({"anyOf": [{"type": ["integer", "null"], "minimum": -1, "maximum": 18446744073709551615},
                  {"type": "array", "minItems": 1, "items":
                   {"type": ["integer", "null"], "minimum": -1, "maximum": 18446744073709551615}}]})";

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

// width and height of their own go before it, wherever they stand.
Setter size_setter(ImageRequest& request, int side_max) {
  return [&request, side_max](const json::value& value) -> Result<void> {
    const std::string text = text_of(value);
    if (text == "auto" || text.empty()) return {};
    TRY(const Size size, parse_size(text, side_max));
    GenerateRequest& generate = request.generate;
    generate.width = generate.width.value_or(size.width);
    generate.height = generate.height.value_or(size.height);
    return {};
  };
}

// What OpenAI's dialect says of pictures in words of its own.
std::vector<Field> picture_fields(const RequestLimits& limits, ImageRequest& request) {
  return {
      text("model", 256, "A served model's name or alias.", into(request.model)),
      also_named({"num_images_per_prompt", "batch_size", "batch_count", "num_images"},
                 integer("n", 1, limits.n_max, "How many pictures.", into(request.n))),
      also_named({"image_size"},
                 text("size", 32, "auto, or WIDTHxHEIGHT in pixels; multiples of what GET /v1/models tells.",
                      size_setter(request, limits.side_max))),
      also_named({"rng_seed"},
                 any("seed", std::string(kSeedSchema),
                     "Image i of n uses seed + i. -1 or null: random. A list: one for each image.",
                     with(request, set_seed))),
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

// The list's fields and, after them, those of this dialect.
std::vector<Field> with_own_fields(const RequestLimits& limits, ImageRequest& request,
                                   std::vector<Field> fields) {
  for (const auto& group : {picture_fields(limits, request), answer_fields(limits, request)})
    fields.insert(fields.end(), group.begin(), group.end());
  return fields;
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
  return with_own_fields(limits, request, listed_fields(limits, request.generate, /*with_picture=*/false));
}

std::vector<Field> edit_fields(const RequestLimits& limits, ImageRequest& request) {
  std::vector<Field> fields =
      with_own_fields(limits, request, listed_fields(limits, request.generate, /*with_picture=*/true));
  fields.push_back(choice("mask_mode", {"auto", "alpha", "luminance"},
                          "What a mask marks for repainting: transparency (alpha) or white (luminance).",
                          with(request, set_mask_mode)));
  fields.push_back(ignored("input_fidelity"));
  return fields;
}

}  // namespace diffused::api
