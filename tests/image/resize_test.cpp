#include "image/resize.h"

#include <gtest/gtest.h>

#include "image/channels.h"
#include "image/codec.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused {
namespace {

Image decoded_fixture(const std::string& name) {
  return *decode_image(read_file(test::source_folder() / "tests/image/data" / name), {});
}

TEST(ResizeLanczos, GivesPillowsBytes) {
  static constexpr std::pair<int, int> kSizes[] = {{16, 16}, {64, 48}, {37, 5}, {9, 31}, {1, 1}, {111, 23}};
  for (const std::string mode : {"RGB", "L"}) {
    const Image source = decoded_fixture("resize_" + mode + ".png");
    for (const auto& [width, height] : kSizes) {
      const std::string size = std::to_string(width) + "x" + std::to_string(height);
      EXPECT_EQ(resize_lanczos(source, width, height).pixels,
                decoded_fixture("resize_" + mode + "_" + size + ".png").pixels)
          << mode << " to " << size;
    }
  }
}

TEST(ResizeBicubic, GivesPillowsBytes) {
  static constexpr std::pair<int, int> kSizes[] = {{64, 48}, {37, 5}, {9, 31}};
  for (const std::string mode : {"RGB", "L"}) {
    const Image source = decoded_fixture("resize_" + mode + ".png");
    for (const auto& [width, height] : kSizes) {
      const std::string size = std::to_string(width) + "x" + std::to_string(height);
      EXPECT_EQ(resize_bicubic(source, width, height).pixels,
                decoded_fixture("bicubic_" + mode + "_" + size + ".png").pixels)
          << mode << " to " << size;
    }
  }
}

TEST(ResizeLanczos, LeavesASizeThatFitsAlone) {
  const Image source = decoded_fixture("resize_RGB.png");
  EXPECT_EQ(resize_lanczos(source, source.width, source.height).pixels, source.pixels);
}

TEST(Channels, GoBetweenGreyAndColour) {
  const Image pixel{1, 1, 4, {255, 0, 0, 128}};
  EXPECT_EQ(to_rgb(pixel).pixels, (std::vector<std::uint8_t>{255, 0, 0}));
  EXPECT_EQ(to_grey(pixel).pixels, std::vector<std::uint8_t>{76});
  EXPECT_EQ(to_rgb(to_grey(pixel)).pixels, (std::vector<std::uint8_t>{76, 76, 76}));
}

TEST(Channels, TellAMaskFromItsAlpha) {
  const Image image{2, 1, 4, {9, 9, 9, 255, 9, 9, 9, 0}};
  EXPECT_TRUE(has_transparency(image));
  EXPECT_EQ(mask_from_alpha(image).pixels, (std::vector<std::uint8_t>{0, 255}));
  EXPECT_FALSE(has_transparency(Image{1, 1, 4, {1, 2, 3, 255}}));
  EXPECT_FALSE(has_transparency(to_rgb(image)));
}

}  // namespace
}  // namespace diffused
