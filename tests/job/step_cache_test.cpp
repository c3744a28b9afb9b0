#include "job/step_cache.h"

#include <gtest/gtest.h>

#include <limits>

namespace diffused {
namespace {

TEST(StepCache, IsReadAsItIsWritten) {
  for (const char* const text : {"none", "easy", "easy=0.05"}) {
    const auto cache = parse_step_cache(text);
    ASSERT_TRUE(cache) << cache.error().message;
    EXPECT_EQ(write_step_cache(*cache), text);
  }
  for (const char* const text : {"", "lazy", "easy=", "easy=much", "easy=0", "easy=-1", "easy=11",
                                 "easy=0.1x", "easy=nan", "first_block=0.2"}) {
    const auto cache = parse_step_cache(text);
    ASSERT_FALSE(cache) << text;
    EXPECT_EQ(cache.error().field, "cache");
    EXPECT_EQ(cache.error().code, ErrorCode::invalid_argument);
  }
}

TEST(StepCache, HasItsModesThresholdWhereNoneIsNamed) {
  EXPECT_FALSE(with_threshold(std::nullopt).on());
  EXPECT_GT(with_threshold(StepCache{kEasyCache}).threshold.value_or(0), 0);
  EXPECT_EQ(with_threshold(StepCache{kEasyCache, 0.5}).threshold, 0.5);
  // So that equal choices are equal.
  EXPECT_EQ(with_threshold(StepCache{kNoCache, 0.5}), StepCache{});
}

TEST(StepCache, IsOneOfTheModels) {
  const std::vector<std::string> modes = {kEasyCache};
  EXPECT_TRUE(check_step_cache({}, {}));
  EXPECT_TRUE(check_step_cache({kEasyCache, 0.1}, modes));
  EXPECT_EQ(check_step_cache({kEasyCache}, {}).error().code, ErrorCode::unsupported);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const StepCache& wrong : {StepCache{"lazy"}, StepCache{kEasyCache, 0.0}, StepCache{kEasyCache, nan}}) {
    const auto checked = check_step_cache(wrong, modes);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(checked.error().field, "cache");
  }
}

}  // namespace
}  // namespace diffused
