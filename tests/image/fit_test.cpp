#include "image/fit.h"

#include <gtest/gtest.h>

#include <numeric>

namespace diffused {
namespace {

// A grey picture whose pixels count up.
Image counted(int width, int height) {
  Image image{width, height, 1, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height)};
  std::iota(image.pixels.begin(), image.pixels.end(), std::uint8_t{0});
  return image;
}

using Bytes = std::vector<std::uint8_t>;

TEST(Fit, LeavesAPictureOfTheSameSizeAlone) {
  for (const Fit fit : {Fit::stretch, Fit::crop, Fit::fill})
    EXPECT_EQ(fit_lanczos(counted(4, 3), 4, 3, fit).pixels, counted(4, 3).pixels);
}

TEST(Fit, CutsOffWhatIsTooLong) {
  EXPECT_EQ(fit_lanczos(counted(4, 2), 2, 2, Fit::crop).pixels, (Bytes{1, 2, 5, 6}));
  EXPECT_EQ(fit_lanczos(counted(1, 4), 1, 2, Fit::crop).pixels, (Bytes{1, 2}));
}

TEST(Fit, FillsWithTheNearestEdge) {
  EXPECT_EQ(fit_lanczos(counted(2, 2), 4, 2, Fit::fill).pixels, (Bytes{0, 0, 1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(fit_lanczos(counted(2, 1), 2, 3, Fit::fill).pixels, (Bytes{0, 1, 0, 1, 0, 1}));
}

TEST(Fit, GivesTheSizeAskedForWhateverTheProportions) {
  for (const auto& [width, height] : {std::pair{1, 1}, {300, 1}, {1, 300}, {17, 5}})
    for (const Fit fit : {Fit::stretch, Fit::crop, Fit::fill}) {
      const Image image = fit_lanczos(counted(width, height), 48, 64, fit);
      EXPECT_EQ(image.width, 48);
      EXPECT_EQ(image.height, 64);
      EXPECT_EQ(image.pixels.size(), 48u * 64u);
    }
}

TEST(Fit, CutsOutAndPutsIn) {
  Image image = counted(3, 3);
  EXPECT_EQ(cut_out(image, {1, 1, 2, 2}).pixels, (Bytes{4, 5, 7, 8}));
  put_in(image, Image{2, 1, 1, {90, 91}}, 0, 2);
  EXPECT_EQ(image.pixels, (Bytes{0, 1, 2, 3, 4, 5, 90, 91, 8}));
}

TEST(Fit, FindsTheLight) {
  Image mask{4, 3, 1, Bytes(12, 0)};
  EXPECT_EQ(box_of_light(mask), std::nullopt);
  mask.pixels[5] = 1;
  EXPECT_EQ(box_of_light(mask), (Box{1, 1, 1, 1}));
  mask.pixels[11] = 255;
  EXPECT_EQ(box_of_light(mask), (Box{1, 1, 3, 2}));
}

TEST(Fit, GrowsABoxToTheProportionsWithinThePicture) {
  const Image whole = counted(100, 60);
  EXPECT_EQ(grown({40, 20, 10, 10}, 0, 64, 64, whole), (Box{40, 20, 10, 10}));
  EXPECT_EQ(grown({40, 20, 10, 10}, 5, 64, 64, whole), (Box{35, 15, 20, 20}));
  EXPECT_EQ(grown({40, 20, 10, 10}, 0, 64, 32, whole), (Box{35, 20, 20, 10}));
  EXPECT_EQ(grown({40, 20, 10, 10}, 0, 32, 64, whole), (Box{40, 15, 10, 20}));
  EXPECT_EQ(grown({0, 0, 10, 10}, 0, 64, 32, whole), (Box{0, 0, 20, 10}));      // moved
  EXPECT_EQ(grown({90, 50, 10, 10}, 8, 64, 64, whole), (Box{82, 42, 18, 18}));  // cut off
  EXPECT_EQ(grown({10, 0, 80, 20}, 0, 64, 64, whole), (Box{10, 0, 80, 60}));    // as far as it goes
}

}  // namespace
}  // namespace diffused
