// Repainting a part of a picture as A1111 does it: what the model is given, and how what it makes is put
// back.
#pragma once

#include <memory>

#include "api/sdapi/sd_request.h"
#include "image/fit.h"

namespace diffused::api {

// What the model is given: two pictures of the size that is made; and what is kept for the end.
struct Repaint {
  Image picture;  // RGB
  Image mask;     // grey, >= 128 is repainted

  Image whole;  // the picture that the answer is: the old one, in its size when only the masked part is made
  Image shown;  // grey, of the same size: 255 where the new picture is to be seen
  Box place;    // where in it the made picture belongs
};

// Makes the mask's edge soft. With request.only_masked the part round the mask is cut out and made in
// width x height; otherwise the whole picture is. A mask without any light leaves the picture as it is. Not
// on an io thread: pictures are resized and blurred.
Repaint prepare_repaint(const SdRequest& request, Image picture, Image mask, int width, int height);

// The whole picture with what was made of it.
Image put_back(const Repaint& repaint, const Image& made);

}  // namespace diffused::api
