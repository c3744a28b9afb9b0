#include "base/memory_budget.h"

#include <gtest/gtest.h>

namespace diffused {
namespace {

constexpr std::uint64_t kMegabyte = 1'000'000;

struct Budget {
  std::shared_ptr<MemoryBudget> budget = std::make_shared<MemoryBudget>(120 * kMegabyte);
  std::unique_ptr<MemoryCharge> charge(const char* user) {
    return std::make_unique<MemoryCharge>(budget, user);
  }
};

TEST(MemoryBudget, GivesAUserAsMuchAsIsFree) {
  Budget memory;
  const auto a1 = memory.charge("a"), a2 = memory.charge("a"), b = memory.charge("b"), c = memory.charge("c");
  EXPECT_TRUE(a1->add(50 * kMegabyte, "x"));
  EXPECT_TRUE(a2->add(10 * kMegabyte, "x"));
  EXPECT_EQ(a2->add(1 * kMegabyte, "x").error().reason, "memory_share");
  EXPECT_TRUE(b->add(30 * kMegabyte, "x"));
  EXPECT_TRUE(c->add(15 * kMegabyte, "x"));
  EXPECT_EQ(memory.budget->bytes_held(), 105 * kMegabyte);
}

TEST(MemoryBudget, SaysWhetherItIsTheRequestTheUserOrTheServer) {
  Budget memory;
  const auto a1 = memory.charge("a"), a2 = memory.charge("a"), b = memory.charge("b");
  const auto large = a1->add(61 * kMegabyte, "the picture");
  EXPECT_EQ(large.error().code, ErrorCode::payload_too_large);
  EXPECT_EQ(large.error().message,
            "with the picture this request would hold 61 MB of memory; one may hold 60 MB");
  EXPECT_FALSE(large.error().retry_after);
  ASSERT_TRUE(a1->add(60 * kMegabyte, "x"));
  const auto share = a2->add(1 * kMegabyte, "x");
  EXPECT_EQ(share.error().code, ErrorCode::overloaded);
  EXPECT_TRUE(share.error().retry_after);
  const auto full = b->add(40 * kMegabyte, "x");
  EXPECT_EQ(full.error().code, ErrorCode::unavailable);
  EXPECT_EQ(full.error().reason, "memory_full");
  EXPECT_TRUE(full.error().retry_after);
  EXPECT_EQ(memory.budget->bytes_held(), 60 * kMegabyte);
}

TEST(MemoryBudget, LetsWhatIsSmallPassAsLongAsThereIsRoom) {
  Budget memory;
  const auto a1 = memory.charge("a"), a2 = memory.charge("a"), b = memory.charge("b");
  ASSERT_TRUE(a1->add(60 * kMegabyte, "x"));
  EXPECT_TRUE(a2->add(64 << 10, "x"));
  EXPECT_FALSE(a2->add(1, "x"));
  EXPECT_EQ(MemoryCharge(std::make_shared<MemoryBudget>(1000), "a").add(501, "x").error().reason,
            "request_too_large");
}

TEST(MemoryBudget, TakesBackWhatAChargeGivesUp) {
  Budget memory;
  {
    const auto a = memory.charge("a");
    ASSERT_TRUE(a->cover(10 * kMegabyte, "x"));
    ASSERT_TRUE(a->cover(5 * kMegabyte, "x"));
    EXPECT_EQ(a->bytes(), 10 * kMegabyte);
    a->keep(2 * kMegabyte);
    EXPECT_EQ(memory.budget->bytes_held(), 2 * kMegabyte);
    a->keep(3 * kMegabyte);
    EXPECT_EQ(a->bytes(), 2 * kMegabyte);
    EXPECT_TRUE(a->add(0, "x"));
  }
  EXPECT_EQ(memory.budget->bytes_held(), 0u);
}

}  // namespace
}  // namespace diffused
