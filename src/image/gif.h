// GIF by giflib, read only. See codec.h for what decode promises.
#pragma once

#include "image/codec.h"

namespace diffused {

bool is_gif(std::string_view bytes);
// Animations are refused, as of WebP.
Result<Image> decode_gif(std::string_view bytes, const DecodeLimits& limits);

}  // namespace diffused
