#include "image/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "image/resize.h"

namespace diffused {
namespace {

int rounded(double side) { return std::max(1, static_cast<int>(std::lround(side))); }

// The largest part of a width by height picture that has the proportions of another one, in its middle.
Box middle(int width, int height, int other_width, int other_height) {
  const double scale =
      std::min(static_cast<double>(width) / other_width, static_cast<double>(height) / other_height);
  const int inner_width = std::min(width, rounded(other_width * scale));
  const int inner_height = std::min(height, rounded(other_height * scale));
  return {(width - inner_width) / 2, (height - inner_height) / 2, inner_width, inner_height};
}

// The picture at (left, top) of a larger one, its edges drawn out.
Image drawn_out(const Image& image, int left, int top, int width, int height) {
  Image result{width, height, image.channels, {}};
  result.pixels.resize(result.stride() * height);
  auto* to = result.pixels.data();
  for (int y = 0; y < height; ++y) {
    const auto* row = image.pixels.data() + image.stride() * std::clamp(y - top, 0, image.height - 1);
    for (int x = 0; x < width; ++x, to += image.channels)
      std::memcpy(to, row + std::clamp(x - left, 0, image.width - 1) * image.channels, image.channels);
  }
  return result;
}

// Grows one side of a box to `wanted`, as far as `side_max` allows.
void grow(int& start, int& size, int wanted, int side_max) {
  if (wanted <= size) return;
  const int grown = std::min(wanted, side_max);
  start = std::clamp(start - (grown - size) / 2, 0, side_max - grown);
  size = grown;
}

void widen(int& start, int& size, int margin, int side_max) {
  const int end = std::min(side_max, start + size + margin);
  start = std::max(0, start - margin);
  size = end - start;
}

}  // namespace

Image fit_lanczos(const Image& image, int width, int height, Fit fit) {
  if (fit == Fit::stretch) return resize_lanczos(image, width, height);
  // Cut first: a long thin picture that covers the size would be very large.
  if (fit == Fit::crop)
    return resize_lanczos(cut_out(image, middle(image.width, image.height, width, height)), width, height);
  const Box inner = middle(width, height, image.width, image.height);
  return drawn_out(resize_lanczos(image, inner.width, inner.height), inner.left, inner.top, width, height);
}

Image cut_out(const Image& image, const Box& box) {
  CHECK(box.left >= 0 && box.top >= 0 && box.left + box.width <= image.width &&
        box.top + box.height <= image.height);
  Image part{box.width, box.height, image.channels, {}};
  part.pixels.reserve(part.stride() * box.height);
  for (int y = box.top; y < box.top + box.height; ++y) {
    const auto row = image.pixels.begin() + static_cast<std::ptrdiff_t>(image.stride() * y);
    const auto first = row + box.left * image.channels;
    part.pixels.insert(part.pixels.end(), first, first + static_cast<std::ptrdiff_t>(part.stride()));
  }
  return part;
}

void put_in(Image& image, const Image& part, int left, int top) {
  CHECK(image.channels == part.channels && left >= 0 && top >= 0 && left + part.width <= image.width &&
        top + part.height <= image.height);
  for (int y = 0; y < part.height; ++y)
    std::memcpy(image.pixels.data() + image.stride() * (top + y) + left * image.channels,
                part.pixels.data() + part.stride() * y, part.stride());
}

std::optional<Box> box_of_light(const Image& grey) {
  CHECK(grey.channels == 1);
  int left = grey.width, top = grey.height, right = -1, bottom = -1;
  for (int y = 0; y < grey.height; ++y) {
    const auto* row = grey.pixels.data() + grey.stride() * y;
    for (int x = 0; x < grey.width; ++x) {
      if (row[x] == 0) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = y;
    }
  }
  if (bottom < 0) return std::nullopt;
  return Box{left, top, right - left + 1, bottom - top + 1};
}

Box grown(const Box& box, int margin, int width, int height, const Image& whole) {
  Box result = box;
  widen(result.left, result.width, margin, whole.width);
  widen(result.top, result.height, margin, whole.height);
  const double wanted = static_cast<double>(width) / height;
  if (result.width < wanted * result.height) {
    grow(result.left, result.width, static_cast<int>(std::lround(wanted * result.height)), whole.width);
  } else {
    grow(result.top, result.height, static_cast<int>(std::lround(result.width / wanted)), whole.height);
  }
  return result;
}

}  // namespace diffused
