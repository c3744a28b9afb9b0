#include "image/channels.h"

#include <algorithm>

#include "base/check.h"

namespace diffused {
namespace {

// A picture of the same size whose pixels are `convert(from, to)` of the old ones.
template <typename Convert>
Image converted(const Image& image, int channels, Convert convert) {
  Image result{image.width, image.height, channels, {}};
  result.pixels.resize(result.stride() * result.height);
  const auto* from = image.pixels.data();
  auto* to = result.pixels.data();
  for (const auto* end = from + image.pixels.size(); from != end; from += image.channels, to += channels)
    convert(from, to);
  return result;
}

}  // namespace

Image to_rgb(Image image) {
  if (image.channels == 3) return image;
  const int green = image.channels == 1 ? 0 : 1;
  const int blue = image.channels == 1 ? 0 : 2;
  return converted(image, 3, [=](const std::uint8_t* from, std::uint8_t* to) {
    to[0] = from[0];
    to[1] = from[green];
    to[2] = from[blue];
  });
}

Image to_grey(Image image) {
  if (image.channels == 1) return image;
  return converted(image, 1, [](const std::uint8_t* from, std::uint8_t* to) {
    to[0] = static_cast<std::uint8_t>((from[0] * 19595 + from[1] * 38470 + from[2] * 7471 + 0x8000) >> 16);
  });
}

Image on_paper(Image image, const std::array<std::uint8_t, 3>& colour) {
  if (image.channels != 4) return image;
  return converted(image, 3, [&](const std::uint8_t* from, std::uint8_t* to) {
    for (int c = 0; c < 3; ++c) {
      const int sum = from[c] * from[3] + colour[c] * (255 - from[3]) + 128;
      to[c] = static_cast<std::uint8_t>(((sum >> 8) + sum) >> 8);  // sum / 255
    }
  });
}

bool has_transparency(const Image& image) {
  if (image.channels != 4) return false;
  for (std::size_t i = 3; i < image.pixels.size(); i += 4)
    if (image.pixels[i] != 255) return true;
  return false;
}

Image mask_from_alpha(const Image& image) {
  CHECK(image.channels == 4);
  return converted(image, 1, [](const std::uint8_t* from, std::uint8_t* to) { to[0] = 255 - from[3]; });
}

Image alpha_of(const Image& image) {
  CHECK(image.channels == 4);
  return converted(image, 1, [](const std::uint8_t* from, std::uint8_t* to) { to[0] = from[3]; });
}

Image with_alpha(const Image& image, const Image& alpha) {
  CHECK(image.channels == 3 && alpha.channels == 1 && image.width == alpha.width &&
        image.height == alpha.height);
  const std::uint8_t* opacity = alpha.pixels.data();
  return converted(image, 4, [&](const std::uint8_t* from, std::uint8_t* to) {
    std::copy_n(from, 3, to);
    to[3] = *opacity++;
  });
}

}  // namespace diffused
