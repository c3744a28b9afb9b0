// TIFF by libtiff, read only; of several pages the first. See codec.h for what decode promises.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_tiff(std::string_view bytes);
Result<Image> decode_tiff(std::string_view bytes, const DecodeLimits& limits);

}  // namespace diffused
