#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "image/bmp.h"
#include "image/codec.h"
#include "image/gif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "image/tiff.h"
#include "image/webp.h"

namespace diffused {

std::span<const Codec> codecs() {
  static constexpr std::array kCodecs{
      Codec{"png", "png", "image/png", is_png, decode_png, encode_png, read_png_text},
      Codec{"jpeg", "jpg", "image/jpeg", is_jpeg, decode_jpeg, encode_jpeg, read_jpeg_text},
      Codec{"webp", "webp", "image/webp", is_webp, decode_webp, encode_webp, read_webp_text},
  };
  return kCodecs;
}

const Codec* find_codec(std::string_view name) {
  for (const Codec& codec : codecs())
    if (codec.name == name || codec.extension == name) return &codec;
  return nullptr;
}

namespace {

// A format that is only read. It is asked after the others, by what its files begin with.
struct ReadFormat {
  bool (*recognizes)(std::string_view bytes);
  Result<Image> (*decode)(std::string_view bytes, const DecodeLimits& limits);
};
constexpr std::array kReadFormats{ReadFormat{is_gif, decode_gif}, ReadFormat{is_bmp, decode_bmp},
                                  ReadFormat{is_tiff, decode_tiff}};

template <typename Formats>
auto recognized(const Formats& formats, std::string_view bytes) -> decltype(&formats[0]) {
  for (const auto& format : formats)
    if (format.recognizes(bytes)) return &format;
  return nullptr;
}

tl::unexpected<Error> unknown_format(std::string_view bytes) {
  return invalid_image(bytes.empty() ? "the image is empty"
                                     : "the image is not a PNG, JPEG, WebP, GIF, BMP or TIFF file");
}

}  // namespace

Result<Image> decode_image(std::string_view bytes, const DecodeLimits& limits) {
  if (const Codec* codec = recognized(codecs(), bytes)) return codec->decode(bytes, limits);
  if (const ReadFormat* format = recognized(kReadFormats, bytes)) return format->decode(bytes, limits);
  return unknown_format(bytes);
}

Result<std::vector<TextChunk>> read_text(std::string_view bytes) {
  if (const Codec* codec = recognized(codecs(), bytes)) return codec->read_text(bytes);
  if (recognized(kReadFormats, bytes) != nullptr) return std::vector<TextChunk>();
  return unknown_format(bytes);
}

std::string_view find_text(const EncodeOptions& options, std::string_view key) {
  const auto found = std::ranges::find(options.text, key, &TextChunk::key);
  return found == options.text.end() ? std::string_view() : std::string_view(found->text);
}

tl::unexpected<Error> invalid_image(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), {}, "invalid_image_file");
}

Result<void> check_size(std::uint64_t width, std::uint64_t height, int bytes_per_pixel,
                        const DecodeLimits& limits) {
  if (width == 0 || height == 0) return invalid_image("the image has no pixels");
  const auto side_max = static_cast<std::uint64_t>(limits.side_max);
  if (width > side_max || height > side_max ||
      width * height > static_cast<std::uint64_t>(limits.pixels_max)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the image has {}x{} pixels; at most {} a side and {} in all are accepted", width,
                            height, limits.side_max, limits.pixels_max),
                {}, "image_too_large");
  }
  if (limits.reserve) return limits.reserve(width * height * static_cast<std::uint64_t>(bytes_per_pixel));
  return {};
}

}  // namespace diffused
