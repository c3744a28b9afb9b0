// Soft edges.
#pragma once

#include "image/image.h"

namespace diffused {

// Gaussian blur of a grey picture with a standard deviation of `sigma` pixels, cut off at two and a half of
// them; the picture is mirrored at its edges. sigma 0 changes nothing. Any thread.
Image blur_gaussian(const Image& grey, double sigma);

// `over` where the grey mask is 255, `under` where it is 0, and in between as much of both. Equal sizes and
// channels of the pictures, which are RGB or grey. Any thread.
Image blend(const Image& under, const Image& over, const Image& mask);

}  // namespace diffused
