#include <fmt/format.h>

#include <array>

#include "image/codec.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "image/webp.h"

namespace diffused {

std::span<const Codec> codecs() {
  static constexpr std::array kCodecs{
      Codec{"png", "png", "image/png", is_png, decode_png, encode_png},
      Codec{"jpeg", "jpg", "image/jpeg", is_jpeg, decode_jpeg, encode_jpeg},
      Codec{"webp", "webp", "image/webp", is_webp, decode_webp, encode_webp},
  };
  return kCodecs;
}

const Codec* find_codec(std::string_view name) {
  for (const Codec& codec : codecs())
    if (codec.name == name || codec.extension == name) return &codec;
  return nullptr;
}

Result<Image> decode_image(std::string_view bytes, const DecodeLimits& limits) {
  for (const Codec& codec : codecs())
    if (codec.recognizes(bytes)) return codec.decode(bytes, limits);
  return invalid_image(bytes.empty() ? "the image is empty" : "the image is not a PNG, JPEG or WebP file");
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
