// The one thing of EXIF that changes what a picture shows: its orientation.
#pragma once

#include <string_view>

#include "image/image.h"

namespace diffused {

// The orientation, 1 to 8, in a TIFF block (what follows "Exif\0\0" in a JPEG; the whole chunk in PNG and
// WebP). 1 when there is none or the block is damaged. Never fails.
int exif_orientation(std::string_view tiff);

// The picture turned and mirrored so that orientation 1 would describe it (EXIF 2.32, tag 0x0112).
Image oriented(Image image, int orientation);

}  // namespace diffused
