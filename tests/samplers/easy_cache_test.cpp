#include "samplers/easy_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace diffused::samplers {
namespace {

at::Tensor values(float first, float second) { return at::tensor({first, second}).view({1, 2}); }

// Two calls: the input moves by 0.5 in the mean, the answer by 1, so that k is 2; mean|v| is 4 then.
EasyCache after_two_calls() {
  const EasyCache first = after_call({}, values(1, 1), values(3, -3), values(3, -3));
  return after_call(first, values(1.5, 0.5), values(4, -4), values(10, -10));
}

TEST(EasyCache, MakesTheFirstTwoCalls) {
  EXPECT_FALSE(skipped_call({}, values(1, 1), 10));
  EXPECT_FALSE(skipped_call(after_call({}, values(1, 1), values(3, -3), values(3, -3)), values(1, 1), 10));
  EXPECT_TRUE(skipped_call(after_two_calls(), values(1.5, 0.5), 10));
}

TEST(EasyCache, AddsWhatTheLatestCallAddedToItsInput) {
  const auto skipped = skipped_call(after_two_calls(), values(2, 1), 10);
  ASSERT_TRUE(skipped);
  EXPECT_TRUE(skipped->guided.equal(values(2 + 8.5, 1 - 10.5)));
}

TEST(EasyCache, AddsUpTheErrorUntilItReachesTheThreshold) {
  // Each of these moves the input by 1 in the mean: the error grows by 2 · 1 / 4.
  const auto once = skipped_call(after_two_calls(), values(2.5, 1.5), 1.01);
  ASSERT_TRUE(once);
  EXPECT_DOUBLE_EQ(once->after.error, 0.5);
  const auto twice = skipped_call(once->after, values(3.5, 2.5), 1.01);
  ASSERT_TRUE(twice);
  EXPECT_DOUBLE_EQ(twice->after.error, 1.0);
  EXPECT_FALSE(skipped_call(twice->after, values(4.5, 3.5), 1.01));
  EXPECT_FALSE(skipped_call(once->after, values(3.5, 2.5), 1.0));  // reached, not passed
  // Skipped calls change neither k nor the answer that errors are measured by.
  const EasyCache made = after_call(twice->after, values(4.5, 3.5), values(4, -4), values(4, -4));
  EXPECT_EQ(made.error, 0);
  EXPECT_EQ(*made.rate, 0);
  EXPECT_DOUBLE_EQ(*twice->after.rate, 2);
}

TEST(EasyCache, MakesACallWhereNothingCanBeTold) {
  const at::Tensor x = values(1, 2);
  const EasyCache still = after_call(after_call({}, x, values(3, 4), x), x, values(3, 4), x);  // k is 0 / 0
  EXPECT_FALSE(skipped_call(still, values(2, 3), 10));
  const EasyCache silent = after_call(after_two_calls(), values(2, 2), values(0, 0), values(0, 0));
  EXPECT_FALSE(skipped_call(silent, values(3, 3), 10));  // nothing to measure by
}

TEST(EasyCache, CountsInFloat32AndGivesTheAnswersDtype) {
  const auto half = [](float first, float second) { return values(first, second).to(at::kBFloat16); };
  const EasyCache first = after_call({}, half(1, 1), half(3, -3), half(3, -3));
  const EasyCache second = after_call(first, half(1.5, 0.5), half(4, -4), half(4, -4));
  const auto skipped = skipped_call(second, values(1.5, 0.5), 10);
  ASSERT_TRUE(skipped);
  EXPECT_EQ(skipped->guided.scalar_type(), at::kBFloat16);
  EXPECT_EQ(skipped->after.added.scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace diffused::samplers
