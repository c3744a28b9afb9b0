// POST extra-single-image and extra-batch-images: pictures made larger, by Lanczos or a network.
#include "api/sdapi/extras.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "api/endpoints.h"
#include "api/json_body.h"
#include "api/memory.h"
#include "api/openai/answer.h"
#include "api/openai/uploads.h"
#include "api/sdapi/board.h"
#include "api/sdapi/upscaling.h"
#include "async/offload.h"
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

Size wanted_size(const ExtrasRequest& request, const Image& image) {
  if (request.resize_mode == 1 && request.crop) return {request.width, request.height};
  return scaled_size(request, image);
}

// Charges for the result before it is made.
Result<void> check_result(Size size, const DecodeLimits& limits) {
  const auto fits = check_size(static_cast<std::uint64_t>(size.width),
                               static_cast<std::uint64_t>(size.height), kEnlargedBytes, limits);
  if (fits || fits.error().code != ErrorCode::invalid_argument) return fits;
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the enlarged picture would be {}x{}; at most {} a side and {} pixels in all are made",
                  size.width, size.height, limits.side_max, limits.pixels_max),
      "upscaling_resize", "image_too_large");
}

// `b` over `a` by its share, as Pillow's blend.
Image blended(Image a, const Image& b, double share) {
  for (std::size_t i = 0; i < a.pixels.size(); ++i)
    a.pixels[i] = static_cast<std::uint8_t>(a.pixels[i] + share * (b.pixels[i] - a.pixels[i]));
  return a;
}

// In A1111's words.
std::string account_of(const ExtrasRequest& request, const Upscaler& first, const Upscaler& second) {
  if (!first.enlarges()) return {};
  std::string account = request.resize_mode == 0
                            ? fmt::format("Postprocess upscale by: {}", request.scale)
                            : fmt::format("Postprocess upscale to: {}x{}", request.width, request.height);
  account += fmt::format(", Postprocess upscaler: {}", first.name);
  if (second.enlarges()) account += fmt::format(", Postprocess upscaler 2: {}", second.name);
  return account;
}

struct ExtrasJob {
  ExtrasRequest request;
  Upscaler first, second;  // the second one's picture over the first one's, by its visibility
  std::vector<Upload> uploads;
  const Codec* codec;
};

std::uint64_t upload_bytes(const ExtrasJob& job) {
  std::uint64_t bytes = 0;
  for (const Upload& upload : job.uploads) bytes += upload.bytes.size();
  return bytes;
}

// A picture on its way: as it was sent, and what the networks made of it, which waits for its size.
struct Enlarging {
  Image original;
  Size size{};                               // that is wanted
  std::optional<Image> by_first, by_second;  // RGB; none: the original
};

Result<Enlarging> read_picture(const ExtrasJob& job, const Upload& upload, const DecodeLimits& limits) {
  Enlarging picture;
  TRY(picture.original, decode_upload(upload, limits));
  if (picture.original.channels == 1) picture.original = to_rgb(std::move(picture.original));
  if (!job.first.enlarges()) return picture;
  picture.size = wanted_size(job.request, picture.original);
  TRY_VOID(check_result(picture.size, limits));
  return picture;
}

Image in_size(const ExtrasRequest& request, const Image& image, Size size) {
  if (request.resize_mode == 1 && request.crop) return fit_lanczos(image, size.width, size.height, Fit::crop);
  return resize_lanczos(image, size.width, size.height);
}

Image finished(const ExtrasJob& job, Enlarging picture) {
  if (!job.first.enlarges()) return std::move(picture.original);
  const auto sized = [&](const std::optional<Image>& made) {
    if (!made) return in_size(job.request, picture.original, picture.size);
    Image larger = in_size(job.request, *made, picture.size);
    if (picture.original.channels != 4) return larger;
    return with_alpha(larger, in_size(job.request, alpha_of(picture.original), picture.size));
  };
  Image image = sized(picture.by_first);
  if (!job.second.enlarges()) return image;
  return blended(std::move(image), sized(picture.by_second), job.request.second_visibility);
}

// The picture as it goes into the answer; what its text says stays with it.
Result<json::string> encoded(const ExtrasJob& job, const Upload& upload, Enlarging picture) {
  const Image image = finished(job, std::move(picture));
  EncodeOptions options{kQuality};
  if (auto account = account_of(job.request, job.first, job.second); !account.empty())
    options.text = {{"postprocessing", std::move(account)}};
  for (TextChunk& chunk : read_text(upload.bytes).value_or(std::vector<TextChunk>()))
    if (chunk.key == kParametersKey || chunk.key == kCommentKey)
      options.text.push_back({std::string(kParametersKey), std::move(chunk.text)});
  TRY(const std::string bytes, job.codec->encode(image, options));
  return json::string(to_base64(bytes));
}

// What a network makes of the picture, where the upscaler is one.
asio::awaitable<Result<void>> run_network(const Api& api, http::Exchange& exchange, const Upscaler& upscaler,
                                          const Enlarging& picture, std::optional<Image>& made) {
  if (!upscaler.network) co_return Result<void>();
  auto larger = co_await run_upscaler(api, exchange, *upscaler.network, picture.original, picture.size);
  if (!larger) co_return tl::unexpected(larger.error());
  made = *std::move(larger);
  co_return Result<void>();
}

// One picture, from its file to the answer's.
asio::awaitable<Result<json::string>> process(const Api& api, http::Exchange& exchange, const ExtrasJob& job,
                                              const Upload& upload) {
  const http::Request& request = exchange.request();
  const DecodeLimits limits = counted(api.limits().upload, request);
  auto picture =
      co_await offload_slow(api.workers, user_of(request), [&] { return read_picture(job, upload, limits); });
  if (!picture) co_return tl::unexpected(picture.error());
  auto ran = co_await run_network(api, exchange, job.first, *picture, picture->by_first);
  if (ran) ran = co_await run_network(api, exchange, job.second, *picture, picture->by_second);
  if (!ran) co_return tl::unexpected(ran.error());
  co_return co_await offload_slow(api.workers, user_of(request),
                                  [&] { return encoded(job, upload, *std::move(picture)); });
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

Result<Upscaler> upscaler_of(const Api& api, const std::string& name, const char* field) {
  auto upscaler = find_upscaler(api, name);
  if (upscaler) return upscaler;
  Error error = std::move(upscaler).error();
  error.message = fmt::format("{} {}", field, error.message);
  error.field = field;
  return tl::unexpected(std::move(error));
}

Result<ExtrasJob> read_extras(const Api& api, const http::Request& http_request, bool batch) {
  TRY_VOID(hold(http_request, 2 * http_request.body.size(), "its parts"));
  TRY(const json::object body, json_body(http_request));
  ExtrasJob job;
  TRY_VOID(read_fields(extras_fields(api.limits(), job.request), body, Source::form));
  TRY(job.first, upscaler_of(api, job.request.upscaler, "upscaler_1"));
  TRY(job.second, upscaler_of(api, job.request.second_upscaler, "upscaler_2"));
  if (job.request.second_visibility == 0) job.second = {};
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
  std::uint64_t held = upload_bytes(*job);
  json::array images;
  for (const Upload& upload : job->uploads) {
    auto image = co_await process(api, exchange, *job, upload);
    if (!image) co_return co_await send_error(exchange, image.error());
    held += 2 * image->size();  // by itself, and within the answer
    hold_only(request, held);
    images.emplace_back(*std::move(image));
  }
  json::object answer{
      {"html_info", fmt::format("<p>{}</p>", account_of(job->request, job->first, job->second))}};
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
           into(request.upscaler)),
      text("upscaler_2", 256, "One of them too, whose picture is laid over the first one's.",
           into(request.second_upscaler)),
      number("extras_upscaler_2_visibility", 1, "How much of the second one's picture is seen.",
             [&request](const json::value& value) -> Result<void> {
               request.second_visibility = value.get_double();
               return {};
             }),
      absent_face_restorer("gfpgan_visibility"),
      absent_face_restorer("codeformer_visibility"),
      ignored("codeformer_weight"),
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
