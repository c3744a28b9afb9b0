#include "image/exif.h"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace diffused {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::size_t kEntryBytes = 12;

// Unsigned numbers at any place of a TIFF block, in the byte order its first letters name.
struct Tiff {
  std::string_view bytes;
  bool big_endian;

  std::optional<std::uint32_t> number(std::size_t at, std::size_t size) const {
    if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const auto byte = static_cast<unsigned char>(bytes[at + (big_endian ? i : size - 1 - i)]);
      value = value << 8 | byte;
    }
    return value;
  }
};

}  // namespace

int exif_orientation(std::string_view tiff) {
  const std::string_view order = tiff.substr(0, 2);
  if (order != "II" && order != "MM") return 1;
  const Tiff block{tiff, order == "MM"};
  const std::size_t directory = block.number(4, 4).value_or(0);
  const std::size_t entries = block.number(directory, 2).value_or(0);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    const auto tag = block.number(entry, 2);
    if (!tag) return 1;
    if (*tag != kOrientationTag) continue;
    const std::uint32_t orientation = block.number(entry + 8, 2).value_or(1);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

Image oriented(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool swapped = orientation >= 5;  // rows become columns
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image turned{
      swapped ? image.height : image.width, swapped ? image.width : image.height, image.channels, {}};
  turned.pixels.resize(image.pixels.size());
  auto* to = turned.pixels.data();
  for (int y = 0; y < turned.height; ++y) {
    for (int x = 0; x < turned.width; ++x, to += image.channels) {
      int from_x = swapped ? y : x;
      int from_y = swapped ? x : y;
      if (from_right) from_x = image.width - 1 - from_x;
      if (from_bottom) from_y = image.height - 1 - from_y;
      std::copy_n(
          image.pixels.data() + from_y * image.stride() + static_cast<std::size_t>(from_x) * image.channels,
          image.channels, to);
    }
  }
  return turned;
}

}  // namespace diffused
