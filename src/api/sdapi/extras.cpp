// POST extra-single-image and extra-batch-images: pictures made larger without a model of pictures.
#include "api/sdapi/extras.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "api/endpoints.h"
#include "api/json_body.h"
#include "api/memory.h"
#include "api/offload.h"
#include "api/openai/answer.h"
#include "api/openai/uploads.h"
#include "api/sdapi/board.h"
#include "image/base64.h"
#include "image/channels.h"
#include "image/fit.h"
#include "image/resize.h"

namespace diffused::api {
namespace {

constexpr std::size_t kBatchMax = 64;
// Of a pixel of what is made: it, what is between it and the original, its file, and that as text, twice.
constexpr int kEnlargedBytes = 16;
constexpr int kSideMultiple = 8;  // to which A1111 rounds what is scaled down
constexpr int kQuality = 80;      // of JPEG and WebP, as A1111's
constexpr std::string_view kNone = "None", kLanczos = "Lanczos";

Setter upscaler_setter(std::string& to) {
  return [&to](const json::value& value) -> Result<void> {
    to = std::string(value.get_string());
    if (to.empty() || to == kNone || to == kLanczos) return {};
    return fail(ErrorCode::invalid_argument, fmt::format("must be {} or {}", kNone, kLanczos), {},
                "invalid_value");
  };
}

// What must be nothing, for there is nobody who could do it.
Field absent_face_restorer(std::string_view name) {
  return number(name, 0, "Must be 0: no faces are restored.",
                [](const json::value&) { return Result<void>(); });
}

int rounded_down(double side) {
  const int whole = static_cast<int>(side);
  return std::max(whole / kSideMultiple * kSideMultiple, std::min(whole, kSideMultiple));
}

// The size before anything is cut off.
Size scaled_size(const ExtrasRequest& request, const Image& image) {
  if (request.resize_mode == 0)
    return {rounded_down(image.width * request.scale), rounded_down(image.height * request.scale)};
  const double scale = std::max(static_cast<double>(request.width) / image.width,
                                static_cast<double>(request.height) / image.height);
  return {static_cast<int>(std::lround(image.width * scale)),
          static_cast<int>(std::lround(image.height * scale))};
}

// Charges for the result before it is made.
Result<Image> enlarged(const ExtrasRequest& request, Image image, const DecodeLimits& limits) {
  image = image.channels == 1 ? to_rgb(std::move(image)) : std::move(image);
  const bool cut = request.resize_mode == 1 && request.crop;
  const Size size = request.upscaler != kLanczos ? Size{image.width, image.height}
                    : cut                        ? Size{request.width, request.height}
                                                 : scaled_size(request, image);
  const auto fits = check_size(static_cast<std::uint64_t>(size.width),
                               static_cast<std::uint64_t>(size.height), kEnlargedBytes, limits);
  if (!fits && fits.error().code != ErrorCode::invalid_argument) return tl::unexpected(fits.error());
  if (!fits)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the enlarged picture would be {}x{}; at most {} a side and {} pixels in all are made",
                    size.width, size.height, limits.side_max, limits.pixels_max),
        "upscaling_resize", "image_too_large");
  if (request.upscaler != kLanczos) return image;
  if (cut) return fit_lanczos(image, size.width, size.height, Fit::crop);
  return resize_lanczos(image, size.width, size.height);
}

// In A1111's words.
std::string account_of(const ExtrasRequest& request) {
  if (request.upscaler != kLanczos) return {};
  const std::string size = request.resize_mode == 0
                               ? fmt::format("Postprocess upscale by: {}", request.scale)
                               : fmt::format("Postprocess upscale to: {}x{}", request.width, request.height);
  return fmt::format("{}, Postprocess upscaler: {}", size, request.upscaler);
}

struct ExtrasJob {
  ExtrasRequest request;
  std::vector<Upload> uploads;
  const Codec* codec;
};

std::uint64_t upload_bytes(const ExtrasJob& job) {
  std::uint64_t bytes = 0;
  for (const Upload& upload : job.uploads) bytes += upload.bytes.size();
  return bytes;
}

// One picture, from its file to the answer's; what its text says stays with it.
Result<json::string> process(const ExtrasJob& job, const Upload& upload, const DecodeLimits& limits) {
  TRY(Image image, decode_upload(upload, limits));
  TRY(image, enlarged(job.request, std::move(image), limits));
  EncodeOptions options{kQuality};
  if (auto account = account_of(job.request); !account.empty())
    options.text = {{"postprocessing", std::move(account)}};
  for (TextChunk& chunk : read_text(upload.bytes).value_or(std::vector<TextChunk>()))
    if (chunk.key == kParametersKey || chunk.key == kCommentKey)
      options.text.push_back({std::string(kParametersKey), std::move(chunk.text)});
  TRY(const std::string bytes, job.codec->encode(image, options));
  return json::string(to_base64(bytes));
}

// The pictures of a batch: {"imageList": [{"data", "name"}]}.
Result<std::vector<Upload>> read_batch(const json::object& body) {
  std::vector<Upload> uploads;
  const json::value* const list = body.if_contains("imageList");
  if (list != nullptr && list->is_array()) {
    for (const json::value& item : list->get_array()) {
      const auto* object = item.if_object();
      if (object == nullptr)
        return fail(ErrorCode::invalid_argument, "imageList must hold objects with data and name",
                    "imageList", "invalid_type");
      if (auto taken = take_images(*object, "data", kBatchMax, uploads); !taken) {
        Error error = std::move(taken).error();
        error.field = "imageList";
        return tl::unexpected(std::move(error));
      }
    }
  }
  if (uploads.empty())
    return fail(ErrorCode::invalid_argument, "imageList is required", "imageList",
                "missing_required_parameter");
  return uploads;
}

Result<ExtrasJob> read_extras(const Api& api, const http::Request& http_request, bool batch) {
  TRY_VOID(hold(http_request, 2 * http_request.body.size(), "its parts"));
  TRY(const json::object body, json_body(http_request));
  ExtrasJob job;
  TRY_VOID(read_fields(extras_fields(api.options.limits, job.request), body, Source::form));
  if (batch) {
    TRY(job.uploads, read_batch(body));
  } else {
    TRY_VOID(take_images(body, "image", 1, job.uploads));
    if (job.uploads.empty())
      return fail(ErrorCode::invalid_argument, "image is required", "image", "missing_required_parameter");
  }
  const std::string format = api.sd_board->options(user_of(http_request)).samples_format;
  job.codec = find_codec(format.empty() ? "png" : format);
  hold_only(http_request, upload_bytes(job));
  return job;
}

// A picture at a time, so that others have their turn, and that no two are charged for at once.
asio::awaitable<void> answer_extras(const Api& api, http::Exchange& exchange, bool batch) {
  const http::Request& request = exchange.request();
  const auto job =
      co_await offload_slow(api.workers, user_of(request), [&] { return read_extras(api, request, batch); });
  if (!job) co_return co_await send_error(exchange, job.error());
  static_cast<void>(exchange.take_body());  // all that counts of it has been read
  const DecodeLimits limits = counted(api.options.limits.upload, request);
  std::uint64_t held = upload_bytes(*job);
  json::array images;
  for (const Upload& upload : job->uploads) {
    auto image =
        co_await offload_slow(api.workers, user_of(request), [&] { return process(*job, upload, limits); });
    if (!image) co_return co_await send_error(exchange, image.error());
    held += 2 * image->size();  // by itself, and within the answer
    hold_only(request, held);
    images.emplace_back(*std::move(image));
  }
  json::object answer{{"html_info", fmt::format("<p>{}</p>", account_of(job->request))}};
  if (batch)
    answer["images"] = std::move(images);
  else
    answer["image"] = std::move(images.front());
  const json::value body(std::move(answer));
  co_await send_large_json(api, exchange, body);
}

}  // namespace

std::vector<Field> extras_fields(const RequestLimits& limits, ExtrasRequest& request) {
  const int side_max = limits.upload.side_max;
  Field scale = number("upscaling_resize", 8,
                       "How many times larger, with resize_mode 0; sides are rounded down to "
                       "multiples of 8.",
                       [&request](const json::value& value) -> Result<void> {
                         request.scale = value.get_double();
                         return {};
                       });
  scale.minimum = 0.05;
  return {
      integer("resize_mode", 0, 1, "0: by upscaling_resize; 1: to a size.", into(request.resize_mode)),
      std::move(scale),
      integer("upscaling_resize_w", 1, side_max, "Pixels, with resize_mode 1.", into(request.width)),
      integer("upscaling_resize_h", 1, side_max, "Pixels, with resize_mode 1.", into(request.height)),
      boolean("upscaling_crop", "Whether what is too long for that size is cut off.", into(request.crop)),
      text("upscaler_1", 256, "One of /sdapi/v1/upscalers; None leaves the picture as it is.",
           upscaler_setter(request.upscaler)),
      text("upscaler_2", 256, "One of them too; as there is one only, it changes nothing.",
           upscaler_setter(request.second_upscaler)),
      absent_face_restorer("gfpgan_visibility"),
      absent_face_restorer("codeformer_visibility"),
      ignored("codeformer_weight"),
      ignored("extras_upscaler_2_visibility"),
      ignored("upscale_first"),
      ignored("show_extras_results"),
  };
}

asio::awaitable<void> sd_extra_single(const Api& api, http::Exchange& exchange) {
  return answer_extras(api, exchange, false);
}
asio::awaitable<void> sd_extra_batch(const Api& api, http::Exchange& exchange) {
  return answer_extras(api, exchange, true);
}

}  // namespace diffused::api
