#include "base/ids.h"

#include <gtest/gtest.h>

#include <set>

namespace diffused {
namespace {

TEST(Ids, AreLongLowerCaseAndNeverEqual) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = random_id("img_");
    EXPECT_EQ(id.size(), 4u + 32u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef", 4), std::string::npos) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
}

TEST(Ids, SeedsFitThirtyTwoBits) {
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random_seed(), std::uint64_t{1} << 32);
}

}  // namespace
}  // namespace diffused
