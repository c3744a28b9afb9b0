// BMP, read only: uncompressed, of 1, 4, 8, 16, 24 and 32 bits. See codec.h for what decode promises.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_bmp(std::string_view bytes);
Result<Image> decode_bmp(std::string_view bytes, const DecodeLimits& limits);

}  // namespace diffused
