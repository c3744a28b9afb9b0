// Between grey, RGB and RGBA, and from pictures to masks.
#pragma once

#include <array>
#include <cstdint>

#include "image/image.h"

namespace diffused {

// Grey is repeated, alpha dropped: as Pillow's convert("RGB").
Image to_rgb(Image image);

// ITU-R 601 luma in Pillow's integer arithmetic; alpha is dropped.
Image to_grey(Image image);

// The picture laid on paper of a colour, in RGB, so that what its alpha hides is not seen: each byte as
// Pillow's paste gives it with the picture as its own mask. One without alpha stays as it is.
constexpr std::array<std::uint8_t, 3> kWhite{255, 255, 255};
Image on_paper(Image image, const std::array<std::uint8_t, 3>& colour = kWhite);

// Whether any pixel is less than opaque.
bool has_transparency(const Image& image);

// A grey mask from an RGBA picture: transparent becomes 255 (repainted), opaque 0 (kept). OpenAI's meaning of
// a mask.
Image mask_from_alpha(const Image& image);

// The alpha of an RGBA picture as a grey one: what is opaque becomes 255. A1111's meaning of a mask.
Image alpha_of(const Image& image);

// An RGB picture with a grey one of the same size as its alpha.
Image with_alpha(const Image& image, const Image& alpha);

}  // namespace diffused
