// WebP by libwebp. See codec.h for what encode and decode promise.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_webp(std::string_view bytes);
// Animations are refused: which of their pictures is meant is not ours to guess.
Result<Image> decode_webp(std::string_view bytes, const DecodeLimits& limits);
Result<std::string> encode_webp(const Image& image, const EncodeOptions& options);
Result<std::vector<TextChunk>> read_webp_text(std::string_view bytes);

}  // namespace diffused
