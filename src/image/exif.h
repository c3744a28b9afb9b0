// What of EXIF is of use here: the orientation, which changes what a picture shows, and the user's comment,
// where A1111's programs keep a picture's parameters.
#pragma once

#include <string>
#include <string_view>

#include "image/image.h"

namespace diffused {

// A block is a TIFF one: what follows "Exif\0\0" in a JPEG; the whole chunk in PNG and WebP, before which
// some programs write that word too. Nothing here fails: a damaged block has neither.

// The orientation, 1 to 8; 1 when there is none.
int exif_orientation(std::string_view block);

// The comment as UTF-8, empty when there is none; its bytes may be of either order, whatever the block's is.
std::string exif_comment(std::string_view block);

// A block that holds a comment alone, as UTF-16 in the order that A1111's programs expect.
std::string exif_with_comment(std::string_view utf8);

// The picture turned and mirrored so that orientation 1 would describe it (EXIF 2.32, tag 0x0112).
Image oriented(Image image, int orientation);

}  // namespace diffused
