// JPEG by libjpeg-turbo. See codec.h for what encode and decode promise.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_jpeg(std::string_view bytes);
// Refuses more than 64 scans: a progressive file of thousands costs minutes and shows nothing more.
Result<Image> decode_jpeg(std::string_view bytes, const DecodeLimits& limits);
// A text of more than about 32,000 characters does not fit into a JPEG's marker and is left out.
Result<std::string> encode_jpeg(const Image& image, const EncodeOptions& options);
Result<std::vector<TextChunk>> read_jpeg_text(std::string_view bytes);

}  // namespace diffused
