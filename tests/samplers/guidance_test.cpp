#include "samplers/guidance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace diffused::samplers {
namespace {

const at::Tensor& negative_output() {
  static const at::Tensor tensor = at::tensor({1.0f, -2.0f, 0.5f}).view({1, 3});
  return tensor;
}
const at::Tensor& positive_output() {
  static const at::Tensor tensor = at::tensor({2.0f, 0.0f, 0.5f}).view({1, 3});
  return tensor;
}

TEST(Guidance, FurtherBeginsAtZero) {
  const at::Tensor &negative = negative_output(), &positive = positive_output();
  EXPECT_TRUE(guide_further(negative, positive, 0).equal(positive));
  EXPECT_TRUE(guide_further(negative, positive, 2).equal(at::tensor({4.0f, 4.0f, 0.5f}).view({1, 3})));
  EXPECT_TRUE(guide_further(negative, positive, 2).allclose(guide(negative, positive, 3)));
}

TEST(Guidance, KeepsTheNormOfEachToken) {
  const at::Tensor positive = at::tensor({3.0f, 4.0f, 0.0f, 2.0f}).view({1, 2, 2});
  const at::Tensor guided = at::tensor({0.0f, 1.0f, 1.0f, 0.0f}).view({1, 2, 2});
  EXPECT_TRUE(with_norm_of(guided, positive).allclose(at::tensor({0.0f, 5.0f, 2.0f, 0.0f}).view({1, 2, 2})));
}

TEST(Guidance, KeepsItsNormBelowALimit) {
  const at::Tensor& positive = positive_output();
  const at::Tensor guided = positive * 4;
  EXPECT_TRUE(with_norm_below(guided, positive, 0).equal(guided));
  EXPECT_TRUE(with_norm_below(guided, positive, 5).equal(guided));
  EXPECT_TRUE(with_norm_below(guided, positive, 1.5).allclose(positive * 1.5));
}

}  // namespace
}  // namespace diffused::samplers
