#include "base/result.h"

#include <gtest/gtest.h>

namespace diffused {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(ErrorCode::invalid_argument, "n must be even", "n");
  return n / 2;
}

Result<int> quarter(int n) {
  TRY(const int first, half(n));
  TRY(const int second, half(first));
  return second;
}

TEST(Result, TryHandsOnTheValue) { EXPECT_EQ(quarter(8).value(), 2); }

TEST(Result, TryReturnsTheFirstErrorUnchanged) {
  const auto result = quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(result.error().message, "n must be even");
  EXPECT_EQ(result.error().field, "n");
}

}  // namespace
}  // namespace diffused
