// Cutting pictures out, putting them back, and bringing them to a size of other proportions.
#pragma once

#include <optional>

#include "image/image.h"

namespace diffused {

// A part of a picture, in pixels from its upper left corner.
struct Box {
  int left = 0, top = 0;
  int width = 0, height = 0;

  bool operator==(const Box&) const = default;
};

// What becomes of a picture whose proportions are not those wanted.
enum class Fit {
  stretch,  // they change
  crop,     // what is too long is cut off, as much at both ends
  fill,     // what is missing is filled with the colours of the nearest edge
};

// The picture in that size. width, height >= 1. Any thread, as all of these.
Image fit_lanczos(const Image& image, int width, int height, Fit fit);

// The part in the box, which lies within the picture.
Image cut_out(const Image& image, const Box& box);

// Puts `part` at (left, top), where all of it lies within the picture. Equal channels.
void put_in(Image& image, const Image& part, int left, int top);

// The smallest box that holds every pixel of a grey picture that is not black; none when all are.
std::optional<Box> box_of_light(const Image& grey);

// The box with `margin` more on each side, and then as much more on two of them as gives it the proportions
// width : height, moved and at last cut off so as to lie within a picture of `whole`'s size.
Box grown(const Box& box, int margin, int width, int height, const Image& whole);

}  // namespace diffused
