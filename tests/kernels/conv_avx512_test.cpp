#include "kernels/conv_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/avx512_test.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

using test::exact;
using test::relative_norm_error;

class ConvAvx512 : public Avx512Test {
 protected:
  // One rounding to bfloat16 is at most 2^-8 of a value; the sums of weights of a doubled picture are a
  // second.
  double tolerance() const { return GetParam() == at::kFloat ? 3e-6 : 6e-3; }
};

TEST_P(ConvAvx512, FollowsTheFormulaAtManyShapes) {
  struct Shape {
    std::int64_t in, out, height, width;
  };
  for (const Shape s : {Shape{16, 1, 1, 1},
                        {16, 3, 1, 9},
                        {32, 65, 9, 1},
                        {48, 16, 7, 5},
                        {64, 100, 17, 40},
                        {128, 3, 8, 130},
                        {512, 64, 9, 33},
                        {720, 70, 5, 7},
                        {1440, 20, 5, 18}}) {
    const at::Tensor x = random_image({2, s.in, s.height, s.width}), bias = random({s.out});
    for (const std::int64_t kernel : {1, 3}) {
      const at::Tensor weight = random({s.out, s.in, kernel, kernel});
      ASSERT_TRUE(PackedConv::takes(weight));
      const at::Tensor y = PackedConv(weight, bias, Doubling::none)(x, {});
      EXPECT_LT(relative_norm_error(y, at::conv2d(exact(x), exact(weight), exact(bias), 1, kernel / 2)),
                tolerance())
          << weight.sizes() << " of " << x.sizes();
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
    }
    const at::Tensor weight = random({s.out, s.in, 3, 3});
    const at::Tensor doubled = at::upsample_nearest2d(exact(x), {2 * s.height, 2 * s.width});
    EXPECT_LT(relative_norm_error(PackedConv(weight, bias, Doubling::nearest)(x, {}),
                                  at::conv2d(doubled, exact(weight), exact(bias), 1, 1)),
              tolerance())
        << weight.sizes() << " of doubled " << x.sizes();
  }
}

TEST_P(ConvAvx512, TakesTheSiluOfANormAndAddsAShiftAndAPicture) {
  const at::Tensor x = random_image({2, 64, 11, 21}) * 3 + 1, added = random_image({2, 40, 11, 21});
  const at::Tensor weight = random({40, 64, 3, 3}), bias = random({40});
  const at::Tensor norm_weight = random({64}), norm_bias = random({64});
  const at::Tensor normal =
      at::silu(at::group_norm(exact(x), 16, exact(norm_weight), exact(norm_bias), 1e-6)).to(GetParam());
  const at::Tensor shift = random({2, 80}).narrow(1, 40, 40);
  const at::Tensor expected = at::conv2d(exact(normal), exact(weight), exact(bias), 1, 1) + exact(added) +
                              exact(shift).unsqueeze(-1).unsqueeze(-1);
  const ConvOptions options{
      .silu_of = group_scaling(x, norm_weight, norm_bias, 16, 1e-6), .shift = shift, .added = added};
  EXPECT_LT(relative_norm_error(PackedConv(weight, bias, Doubling::none)(x, options), expected), tolerance());
}

TEST_P(ConvAvx512, GivesAnImageTheSameBytesInEveryBatchAndNumberOfThreads) {
  const at::Tensor weight = random({70, 32, 3, 3}), bias = random({70});
  const at::Tensor x = random_image({3, 32, 19, 45}), ones = at::ones({32}, GetParam());
  const int threads = at::get_num_threads();
  for (const Doubling doubling : {Doubling::none, Doubling::nearest}) {
    const PackedConv conv(weight, bias, doubling);
    const auto run = [&](const at::Tensor& images) {
      return conv(images, {.silu_of = group_scaling(images, ones, ones, 8, 1e-6), .shift = {}, .added = {}});
    };
    const at::Tensor together = run(x);
    at::set_num_threads(1);
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(at::equal(together.narrow(0, i, 1), run(x.narrow(0, i, 1))));
    }
    at::set_num_threads(threads);
  }
}

TEST_P(ConvAvx512, RefusesWhatItCannotTake) {
  EXPECT_FALSE(PackedConv::takes(random({8, 24, 3, 3})));
  EXPECT_FALSE(PackedConv::takes(random({8, 16, 5, 5})));
  EXPECT_FALSE(PackedConv::takes(random({8, 16, 1, 3})));
  EXPECT_FALSE(PackedConv::takes(random({8, 16})));
  EXPECT_FALSE(PackedConv::takes(random({8, 16, 3, 3}).to(at::kHalf)));
  const PackedConv conv(random({8, 16, 3, 3}), random({8}), Doubling::none);
  EXPECT_TRUE(conv.takes_input(random_image({1, 16, 4, 4})));
  EXPECT_FALSE(conv.takes_input(random({1, 16, 4, 4})));
  EXPECT_FALSE(conv.takes_input(random_image({1, 32, 4, 4})));
}

INSTANTIATE_TEST_SUITE_P(Numbers, ConvAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
