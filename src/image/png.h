// PNG by libpng's row interface. See codec.h for what encode and decode promise.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_png(std::string_view bytes);
Result<Image> decode_png(std::string_view bytes, const DecodeLimits& limits);
Result<std::string> encode_png(const Image& image, const EncodeOptions& options);

// The text chunks (tEXt, zTXt and iTXt) that stand before the pixels, in file order, as UTF-8. No pixel is
// decoded. Of more than about a dozen the first are read, and those above 1 MiB are left out. Errors:
// invalid_argument, reason "invalid_image_file", when the bytes up to the pixels are no PNG;
// payload_too_large: more than 1 MiB of text in all.
Result<std::vector<TextChunk>> read_png_text(std::string_view bytes);

}  // namespace diffused
