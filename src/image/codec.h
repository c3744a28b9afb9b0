// What a picture format can do, and the list of the formats.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/image.h"

namespace diffused {

// What a decoder accepts. Looked at after the header and before any pixel is decoded or allocated.
struct DecodeLimits {
  int side_max = 16'384;                 // pixels
  std::int64_t pixels_max = 50'000'000;  // a telephone's camera makes 48 million
  // Told how many bytes decoding takes at most, before it takes them; what it returns is an error of decode.
  // Empty: nobody counts.
  std::function<Result<void>(std::uint64_t bytes)> reserve = {};
};

// A key and a UTF-8 text that travel inside a file. A PNG has any; a JPEG and a WebP one, EXIF's comment for
// the user, which is written from the text of this key and read under the other, as A1111's programs do.
constexpr std::string_view kParametersKey = "parameters";
constexpr std::string_view kCommentKey = "exif comment";
struct TextChunk {
  std::string key;  // 1 to 79 printable ASCII characters
  std::string text;
};

struct EncodeOptions {
  int quality = 100;                 // 0 to 100; formats without loss ignore it
  std::vector<TextChunk> text = {};  // what the format cannot hold of it is left out
};

// One format. Stateless; any thread.
//
// decode: 8-bit pixels with 1, 3 or 4 channels. 16-bit samples lose their low byte, palettes and CMYK become
// RGB, EXIF orientation is applied, colour profiles are ignored: what Pillow's convert("RGB") sees. Errors:
// invalid_argument with reason "invalid_image_file" (damaged, truncated, animated) or "image_too_large"
// (limits).
//
// encode: 1, 3 or 4 channels (JPEG drops alpha). Errors: unsupported when the format cannot hold that size.
//
// read_text: what stands in the file, in its order, without decoding a pixel. Errors: "invalid_image_file".
struct Codec {
  std::string_view name;        // "png": the word in `output_format`
  std::string_view extension;   // "png", without the dot
  std::string_view media_type;  // "image/png"
  bool (*recognizes)(std::string_view bytes);
  Result<Image> (*decode)(std::string_view bytes, const DecodeLimits& limits);
  Result<std::string> (*encode)(const Image& image, const EncodeOptions& options);
  Result<std::vector<TextChunk>> (*read_text)(std::string_view bytes);
};

// THE LIST of formats that are written; a new one is a line in codecs.cpp. More are read.
std::span<const Codec> codecs();

// The codec of that name ("jpg" counts as "jpeg"), or null.
const Codec* find_codec(std::string_view name);

// Decodes bytes of any known format (those above, GIF, BMP and TIFF), told by their content and never by a
// name. Errors: as Codec::decode; "invalid_image_file" when no format recognizes the bytes.
Result<Image> decode_image(std::string_view bytes, const DecodeLimits& limits);

// The texts in bytes of any known format. Errors: as Codec::read_text; "invalid_image_file" when no format
// recognizes the bytes.
Result<std::vector<TextChunk>> read_text(std::string_view bytes);

// For encoders: the text of that key, or an empty one.
std::string_view find_text(const EncodeOptions& options, std::string_view key);

// For decoders: the two errors above, and the check against the limits. `bytes_per_pixel`: what decoding
// takes at most.
tl::unexpected<Error> invalid_image(std::string message);
Result<void> check_size(std::uint64_t width, std::uint64_t height, int bytes_per_pixel,
                        const DecodeLimits& limits);

}  // namespace diffused
