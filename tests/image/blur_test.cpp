#include "image/blur.h"

#include <gtest/gtest.h>

#include <cmath>

namespace diffused {
namespace {

Image grey(int width, int height, std::uint8_t shade) {
  return {width, height, 1, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height, shade)};
}

TEST(Blur, SpreadsAPointAsABell) {
  Image point = grey(21, 21, 0);
  point.pixels[10 * 21 + 10] = 255;
  const Image soft = blur_gaussian(point, 1.0);
  // Three pixels to each side: exp(-x^2 / 2) over the sum of all seven.
  double sum = 0;
  for (int x = -3; x <= 3; ++x) sum += std::exp(-x * x / 2.0);
  for (int y = -4; y <= 4; ++y)
    for (int x = -4; x <= 4; ++x) {
      const bool near = std::abs(x) <= 3 && std::abs(y) <= 3;
      const double expected = near ? 255 * std::exp(-(x * x + y * y) / 2.0) / (sum * sum) : 0;
      EXPECT_NEAR(soft.pixels[(10 + y) * 21 + 10 + x], expected, 0.51) << x << " " << y;
    }
}

TEST(Blur, KeepsAnEvenPictureEvenUpToItsEdges) {
  for (const auto& [width, height] : {std::pair{1, 1}, {2, 3}, {40, 7}})
    EXPECT_EQ(blur_gaussian(grey(width, height, 200), 4).pixels, grey(width, height, 200).pixels);
}

TEST(Blur, IsNoneWithoutWidth) {
  Image image = grey(3, 1, 0);
  image.pixels = {0, 255, 7};
  EXPECT_EQ(blur_gaussian(image, 0).pixels, image.pixels);
}

TEST(Blend, TakesAsMuchOfEachAsTheMaskSays) {
  const Image under{3, 1, 3, {10, 20, 30, 10, 20, 30, 10, 20, 30}};
  const Image over{3, 1, 3, {110, 120, 130, 110, 120, 130, 110, 120, 130}};
  EXPECT_EQ(blend(under, over, Image{3, 1, 1, {0, 255, 51}}).pixels,
            (std::vector<std::uint8_t>{10, 20, 30, 110, 120, 130, 30, 40, 50}));
}

}  // namespace
}  // namespace diffused
