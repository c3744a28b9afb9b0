#include "kernels/group_norm_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/avx512_test.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

using test::exact;
using test::relative_norm_error;

class GroupNormAvx512 : public Avx512Test {
 protected:
  double tolerance() const { return GetParam() == at::kFloat ? 1e-6 : 3e-3; }
};

at::Tensor expected(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    const GroupNormOptions& options) {
  const at::Tensor y = at::group_norm(exact(x), options.groups, exact(weight), exact(bias), options.eps);
  return options.silu ? at::silu(y) : y;
}

TEST_P(GroupNormAvx512, FollowsTheFormulaAtManyShapes) {
  struct Shape {
    std::int64_t channels, groups, height, width;
  };
  for (const Shape s : {Shape{16, 1, 1, 1},
                        {16, 16, 3, 5},
                        {32, 8, 8, 8},
                        {48, 3, 7, 9},
                        {128, 32, 65, 33},
                        {512, 32, 17, 20}}) {
    for (const bool silu : {false, true}) {
      const at::Tensor x = random_image({2, s.channels, s.height, s.width}) * 3 + 1;
      const at::Tensor weight = random({s.channels}), bias = random({s.channels});
      ASSERT_TRUE(group_norm_takes(x));
      const GroupNormOptions options{.groups = s.groups, .eps = 1e-6, .silu = silu};
      const at::Tensor y = group_norm(x, weight, bias, options);
      EXPECT_LT(relative_norm_error(y, expected(x, weight, bias, options)), tolerance()) << x.sizes();
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
    }
  }
}

TEST_P(GroupNormAvx512, KeepsAccuracyForAMeanFarFromZeroOverManyPixels) {
  const at::Tensor x =
      (at::randn({1, 16, 300, 300}) + 8).to(GetParam()).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = at::ones({16}, GetParam()), bias = at::zeros({16}, GetParam());
  const GroupNormOptions options{.groups = 4, .eps = 1e-6, .silu = false};
  EXPECT_LT(relative_norm_error(group_norm(x, weight, bias, options), expected(x, weight, bias, options)),
            10 * tolerance());
}

TEST_P(GroupNormAvx512, GivesAnImageTheSameBytesInEveryBatchAndNumberOfThreads) {
  const at::Tensor x = random_image({3, 64, 90, 70}), weight = random({64}), bias = random({64});
  const GroupNormOptions options{.groups = 32, .eps = 1e-6, .silu = true};
  const at::Tensor together = group_norm(x, weight, bias, options);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(together.narrow(0, i, 1), group_norm(x.narrow(0, i, 1), weight, bias, options)));
  }
  at::set_num_threads(threads);
}

TEST_P(GroupNormAvx512, RefusesWhatItCannotTake) {
  EXPECT_TRUE(group_norm_takes(random_image({1, 32, 4, 4})));
  EXPECT_FALSE(group_norm_takes(random({1, 32, 4, 4})));
  EXPECT_FALSE(group_norm_takes(random_image({1, 24, 4, 4})));
  EXPECT_FALSE(group_norm_takes(random({1, 32, 4})));
  EXPECT_FALSE(group_norm_takes(random_image({1, 32, 4, 4}).to(at::kHalf)));
}

INSTANTIATE_TEST_SUITE_P(Numbers, GroupNormAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
