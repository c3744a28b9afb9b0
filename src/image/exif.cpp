#include "image/exif.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/utf8.h"

namespace diffused {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112, kExifTag = 0x8769, kCommentTag = 0x9286;
constexpr std::size_t kEntryBytes = 12;
constexpr std::string_view kMarker("Exif\0\0", 6);
// What begins a comment: how its text is written.
constexpr std::size_t kCharsetBytes = 8;
constexpr std::string_view kAscii("ASCII\0\0\0", kCharsetBytes), kUnicode("UNICODE\0", kCharsetBytes),
    kUndefined("\0\0\0\0\0\0\0\0", kCharsetBytes);

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

  // Where the entry of that tag is in the directory at a place, if it is there.
  std::optional<std::size_t> entry(std::size_t directory, std::uint32_t tag) const {
    const std::size_t entries = number(directory, 2).value_or(0);
    for (std::size_t i = 0; i < entries; ++i) {
      const std::size_t at = directory + 2 + i * kEntryBytes;
      const auto found = number(at, 2);
      if (!found) return std::nullopt;
      if (*found == tag) return at;
    }
    return std::nullopt;
  }
};

std::optional<Tiff> tiff_of(std::string_view block) {
  if (block.starts_with(kMarker)) block.remove_prefix(kMarker.size());
  const std::string_view order = block.substr(0, 2);
  if (order != "II" && order != "MM") return std::nullopt;
  return Tiff{block, order == "MM"};
}

void add_utf8(std::string& text, std::uint32_t point) {
  if (point < 0x80) {
    text += static_cast<char>(point);
    return;
  }
  const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;  // bytes behind the first
  text += static_cast<char>((0xFF << (7 - more) & 0xFF) | point >> 6 * more);
  for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (point >> 6 * i & 0x3F));
}

// Whether UTF-16 is written with the high byte first: by its mark, else by where the zeros are, which Latin
// text has in plenty, else as the block is.
bool high_byte_first(std::string_view text, bool block_is) {
  if (text.starts_with("\xFE\xFF") || text.starts_with("\xFF\xFE")) return text[0] == '\xFE';
  std::size_t zeros[2] = {0, 0};
  for (std::size_t i = 0; i < text.size(); ++i) zeros[i % 2] += text[i] == 0 ? 1 : 0;
  return zeros[0] == zeros[1] ? block_is : zeros[0] > zeros[1];
}

// What is no UTF-16 becomes U+FFFD.
std::string from_utf16(std::string_view text, bool block_is_big_endian) {
  constexpr std::uint32_t kByteOrderMark = 0xFEFF, kReplacement = 0xFFFD;
  const Tiff words{text, high_byte_first(text, block_is_big_endian)};
  std::string utf8;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    std::uint32_t point = *words.number(i, 2);
    const std::uint32_t next = words.number(i + 2, 2).value_or(0);
    if (point >= 0xD800 && point < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      point = 0x10000 + ((point - 0xD800) << 10) + (next - 0xDC00);
      i += 2;
    } else if (point >= 0xD800 && point < 0xE000) {
      point = kReplacement;
    }
    if (point != kByteOrderMark && point != 0) add_utf8(utf8, point);
  }
  return utf8;
}

void add_big_endian(std::string& bytes, std::uint32_t number, int size) {
  for (int i = size - 1; i >= 0; --i) bytes += static_cast<char>(number >> 8 * i & 0xFF);
}

std::string to_utf16(std::string_view utf8) {
  std::string words;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto first = static_cast<unsigned char>(utf8[i]);
    const std::size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    std::uint32_t point = length == 1 ? first : first & (0x7F >> length);
    for (std::size_t k = 1; k < length && i + k < utf8.size(); ++k)
      point = point << 6 | (static_cast<unsigned char>(utf8[i + k]) & 0x3F);
    i += length;
    if (point >= 0x10000) {
      add_big_endian(words, 0xD800 + ((point - 0x10000) >> 10 & 0x3FF), 2);
      point = 0xDC00 + ((point - 0x10000) & 0x3FF);
    }
    add_big_endian(words, point, 2);
  }
  return words;
}

}  // namespace

int exif_orientation(std::string_view block) {
  const auto tiff = tiff_of(block);
  if (!tiff) return 1;
  const auto entry = tiff->entry(tiff->number(4, 4).value_or(0), kOrientationTag);
  const std::uint32_t orientation = entry ? tiff->number(*entry + 8, 2).value_or(1) : 1;
  return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
}

std::string exif_comment(std::string_view block) {
  const auto tiff = tiff_of(block);
  if (!tiff) return {};
  const auto exif = tiff->entry(tiff->number(4, 4).value_or(0), kExifTag);
  const auto comment = exif ? tiff->entry(tiff->number(*exif + 8, 4).value_or(0), kCommentTag) : std::nullopt;
  if (!comment) return {};
  const std::size_t size = tiff->number(*comment + 4, 4).value_or(0);
  const std::size_t at = tiff->number(*comment + 8, 4).value_or(0);
  if (size < kCharsetBytes || at > tiff->bytes.size() || size > tiff->bytes.size() - at) return {};
  const std::string_view charset = tiff->bytes.substr(at, kCharsetBytes);
  const std::string_view text = tiff->bytes.substr(at + kCharsetBytes, size - kCharsetBytes);
  if (charset == kUnicode) return from_utf16(text, tiff->big_endian);
  if (charset != kAscii && charset != kUndefined) return {};
  return to_utf8(text.substr(0, text.find('\0')));  // whatever its charset says
}

std::string exif_with_comment(std::string_view utf8) {
  constexpr std::uint32_t kLong = 4, kUndefinedType = 7;
  constexpr std::size_t kDirectoryBytes = 2 + kEntryBytes + 4, kFirst = 8, kSecond = kFirst + kDirectoryBytes;
  const std::string text = std::string(kUnicode) + to_utf16(utf8);
  std::string block("MM\0*", 4);
  add_big_endian(block, kFirst, 4);
  const auto add_directory = [&](std::uint32_t tag, std::uint32_t type, std::size_t count,
                                 std::size_t value) {
    add_big_endian(block, 1, 2);  // one entry
    add_big_endian(block, tag, 2);
    add_big_endian(block, type, 2);
    add_big_endian(block, static_cast<std::uint32_t>(count), 4);
    add_big_endian(block, static_cast<std::uint32_t>(value), 4);
    add_big_endian(block, 0, 4);  // no further directory
  };
  add_directory(kExifTag, kLong, 1, kSecond);
  add_directory(kCommentTag, kUndefinedType, text.size(), kSecond + kDirectoryBytes);
  return block + text;
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
