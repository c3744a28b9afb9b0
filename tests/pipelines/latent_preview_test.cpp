#include "pipelines/latent_preview.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace diffused::pipelines {
namespace {

TEST(ToImage, RoundsHalvesToEvenAndCutsOff) {
  // 0.5 / 255 and 1.5 / 255 are the halves below 1 and 2.
  const at::Tensor rgb =
      at::tensor({-1.0f, 0.0f, 0.5f / 255, 1.5f / 255, 2.5f / 255, 2.0f}).view({1, 3, 1, 2});
  const Image image = to_image(rgb);
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_EQ(image.pixels, (std::vector<std::uint8_t>{0, 0, 2, 0, 2, 255}));
}

}  // namespace
}  // namespace diffused::pipelines
