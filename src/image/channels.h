// Between grey, RGB and RGBA, and from pictures to masks.
#pragma once

#include "image/image.h"

namespace diffused {

// Grey is repeated, alpha dropped: as Pillow's convert("RGB").
Image to_rgb(Image image);

// ITU-R 601 luma in Pillow's integer arithmetic; alpha is dropped.
Image to_grey(Image image);

// Whether any pixel is less than opaque.
bool has_transparency(const Image& image);

// A grey mask from an RGBA picture: transparent becomes 255 (repainted), opaque 0 (kept). OpenAI's meaning of
// a mask.
Image mask_from_alpha(const Image& image);

}  // namespace diffused
