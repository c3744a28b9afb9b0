#include "image/bmp.h"

#include <array>
#include <bit>
#include <cstdlib>

#include "image/channels.h"

namespace diffused {
namespace {

// The places of Windows' BITMAPFILEHEADER and BITMAPINFOHEADER.
constexpr std::size_t kPixelsAt = 10, kHeader = 14, kWidth = 18, kHeight = 22, kBits = 28, kCompression = 30,
                      kColours = 46, kMasks = 54;
constexpr std::size_t kCoreHeaderBytes = 12, kInfoHeaderBytes = 40, kWithAlphaMask = 56;
constexpr int kBmpPixelBytes = 4;
constexpr std::uint32_t kPlain = 0, kByMasks = 3, kByMasksWithAlpha = 6;

tl::unexpected<Error> damaged_bmp() { return invalid_image("the BMP is damaged or not whole"); }
tl::unexpected<Error> rare_bmp() { return invalid_image("this kind of BMP is not read: send a PNG"); }

std::uint32_t little(std::string_view bytes, std::size_t at, std::size_t size = 4) {
  std::uint32_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

struct BmpHead {
  int width = 0, height = 0;
  bool from_top = false;
  std::uint32_t bits = 0;
  std::size_t pixels_at = 0;
  std::array<std::uint32_t, 4> masks{};                   // red, green, blue, alpha; of more than eight bits
  std::vector<std::array<std::uint8_t, 3>> colours = {};  // of up to eight
  std::size_t row_bytes() const { return (static_cast<std::size_t>(width) * bits + 31) / 32 * 4; }
};

Result<void> read_masks(std::string_view bytes, std::uint32_t header_bytes, BmpHead& head) {
  const std::uint32_t compression = little(bytes, kCompression);
  if (compression == kPlain) {
    head.masks = head.bits == 16 ? std::array<std::uint32_t, 4>{0x7C00, 0x3E0, 0x1F, 0}
                                 : std::array<std::uint32_t, 4>{0xFF0000, 0xFF00, 0xFF, 0};
    return {};
  }
  const bool by_masks = (compression == kByMasks || compression == kByMasksWithAlpha) && head.bits != 24;
  if (head.bits <= 8 || !by_masks) return rare_bmp();
  const std::size_t count = header_bytes >= kWithAlphaMask || compression == kByMasksWithAlpha ? 4 : 3;
  if (bytes.size() < kMasks + 4 * count) return damaged_bmp();
  for (std::size_t i = 0; i < count; ++i) head.masks[i] = little(bytes, kMasks + 4 * i);
  return {};
}

Result<void> read_colours(std::string_view bytes, std::uint32_t header_bytes, BmpHead& head) {
  if (head.bits > 8) return {};
  if (little(bytes, kCompression) != kPlain) return rare_bmp();
  const std::uint32_t most = 1U << head.bits;
  const std::uint32_t said = little(bytes, kColours);
  const std::uint32_t count = said == 0 || said > most ? most : said;
  const std::size_t first = kHeader + header_bytes;
  if (first > bytes.size() || bytes.size() - first < std::size_t{4} * count) return damaged_bmp();
  for (std::size_t at = first; head.colours.size() < count; at += 4)
    head.colours.push_back({static_cast<std::uint8_t>(bytes[at + 2]),
                            static_cast<std::uint8_t>(bytes[at + 1]), static_cast<std::uint8_t>(bytes[at])});
  return {};
}

Result<BmpHead> read_head(std::string_view bytes, const DecodeLimits& limits) {
  if (bytes.size() < kMasks) return damaged_bmp();
  const std::uint32_t header_bytes = little(bytes, kHeader);
  if (header_bytes == kCoreHeaderBytes) return rare_bmp();
  if (header_bytes < kInfoHeaderBytes) return damaged_bmp();
  BmpHead head;
  const auto width = static_cast<std::int32_t>(little(bytes, kWidth));
  const auto height = static_cast<std::int32_t>(little(bytes, kHeight));
  const std::int64_t rows = std::abs(std::int64_t{height});
  if (width < 1) return damaged_bmp();
  TRY_VOID(check_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(rows), kBmpPixelBytes,
                      limits));
  head.width = width;
  head.height = static_cast<int>(rows);
  head.from_top = height < 0;
  head.bits = little(bytes, kBits, 2);
  head.pixels_at = little(bytes, kPixelsAt);
  constexpr std::array<std::uint32_t, 6> kKnown{1, 4, 8, 16, 24, 32};
  if (std::find(kKnown.begin(), kKnown.end(), head.bits) == kKnown.end()) return rare_bmp();
  TRY_VOID(read_masks(bytes, header_bytes, head));
  TRY_VOID(read_colours(bytes, header_bytes, head));
  const std::size_t size = head.row_bytes() * static_cast<std::size_t>(head.height);
  if (head.pixels_at > bytes.size() || bytes.size() - head.pixels_at < size) return damaged_bmp();
  return head;
}

// The bits under a mask as eight.
std::uint8_t under_mask(std::uint32_t pixel, std::uint32_t mask) {
  if (mask == 0) return 255;
  const std::uint32_t most = mask >> std::countr_zero(mask);
  const std::uint32_t value = (pixel & mask) >> std::countr_zero(mask);
  return static_cast<std::uint8_t>(std::uint64_t{value} * 255 / most);
}

}  // namespace

bool is_bmp(std::string_view bytes) { return bytes.starts_with("BM") && bytes.size() > kHeader; }

Result<Image> decode_bmp(std::string_view bytes, const DecodeLimits& limits) {
  TRY(const BmpHead head, read_head(bytes, limits));
  Image image{head.width, head.height, head.masks[3] != 0 ? 4 : 3, {}};
  image.pixels.reserve(image.stride() * static_cast<std::size_t>(image.height));
  for (int y = 0; y < head.height; ++y) {
    const auto row_number = static_cast<std::size_t>(head.from_top ? y : head.height - 1 - y);
    const std::string_view row =
        bytes.substr(head.pixels_at + row_number * head.row_bytes(), head.row_bytes());
    for (int x = 0; x < head.width; ++x) {
      const std::size_t bit = static_cast<std::size_t>(x) * head.bits;
      if (head.bits > 8) {
        const std::uint32_t pixel = little(row, bit / 8, head.bits / 8);
        for (int c = 0; c < image.channels; ++c)
          image.pixels.push_back(under_mask(pixel, head.masks[static_cast<std::size_t>(c)]));
        continue;
      }
      const unsigned shift = static_cast<unsigned>(8 - head.bits - bit % 8);
      const std::size_t index = static_cast<unsigned char>(row[bit / 8]) >> shift & ((1U << head.bits) - 1);
      if (index >= head.colours.size()) return damaged_bmp();
      image.pixels.insert(image.pixels.end(), head.colours[index].begin(), head.colours[index].end());
    }
  }
  return image;
}

}  // namespace diffused
