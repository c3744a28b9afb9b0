// Changing a picture's size.
#pragma once

#include "image/image.h"

namespace diffused {

// Lanczos with three lobes, widened when shrinking; every byte as Pillow 13's Image.resize(LANCZOS) of modes
// L and RGB gives it. Alpha is filtered as a fourth colour, not premultiplied. width, height >= 1. Any
// thread.
Image resize_lanczos(const Image& image, int width, int height);

// The same with Pillow's BICUBIC, whose curve is that of Keys with a = -0.5.
Image resize_bicubic(const Image& image, int width, int height);

}  // namespace diffused
