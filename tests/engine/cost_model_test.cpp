#include "engine/cost_model.h"

#include <gtest/gtest.h>

namespace diffused::engine {
namespace {

const BatchKey kKey{0, UnitKind::step, 1};

// Serves units of as many rows as are allowed until the limit has not moved for a while.
std::size_t settle(CostModel& costs, const BatchKey& key, double (*seconds)(double rows)) {
  for (int i = 0; i < 40; ++i) {
    const std::size_t rows = costs.batch_limit(key);
    costs.measured(key, 1e9, rows, seconds(static_cast<double>(rows)));
  }
  return costs.batch_limit(key);
}

TEST(CostModel, BeforeAnythingIsMeasuredTheGivenRateCounts) {
  const CostModel costs(16, 1e9);
  EXPECT_DOUBLE_EQ(costs.seconds(kKey, 2e9, 3), 6);
  EXPECT_DOUBLE_EQ(costs.seconds_per_flop(0), 1e-9);
  EXPECT_EQ(costs.batch_limit(kKey), 1u);
}

TEST(CostModel, AnUnseenKeyCostsItsFlopsAtTheRateOfItsKind) {
  CostModel costs(16, 2e8);
  costs.measured(kKey, 1e9, 1, 2);
  costs.measured({0, UnitKind::decode, 1}, 1e9, 1, 8);
  EXPECT_DOUBLE_EQ(costs.seconds({0, UnitKind::step, 99}, 5e8, 2), 2);
  EXPECT_DOUBLE_EQ(costs.seconds({0, UnitKind::decode, 99}, 5e8, 2), 8);
  EXPECT_NEAR(costs.seconds_per_flop(0), 5e-9, 1e-10) << "both kinds together";
  EXPECT_DOUBLE_EQ(costs.seconds({1, UnitKind::step, 1}, 2e8, 1), 1) << "another model";
}

TEST(CostModel, AColdFirstPromptDoesNotMakeAllWorkLookLong) {
  CostModel costs(16, 1e12);
  costs.measured({0, UnitKind::encode, 1}, 1e8, 1, 0.05);  // 500 times slower than steps will be
  EXPECT_DOUBLE_EQ(costs.seconds_per_flop(0), 1e-12);
}

TEST(CostModel, TheFirstMeasurementPaysForWarmingUpAndIsForgotten) {
  CostModel costs(16, 1);
  costs.measured(kKey, 1e9, 1, 100);
  costs.measured(kKey, 1e9, 1, 2);
  EXPECT_DOUBLE_EQ(costs.seconds(kKey, 1e9, 1), 2);
}

TEST(CostModel, FollowsAMachineThatBecomesSlower) {
  CostModel costs(16, 1);
  for (int i = 0; i < 5; ++i) costs.measured(kKey, 1e9, 1, 1);
  for (int i = 0; i < 30; ++i) costs.measured(kKey, 1e9, 1, 3);
  EXPECT_NEAR(costs.seconds(kKey, 1e9, 1), 3, 0.01);
}

TEST(CostModel, AnUnseenNumberOfRowsCostsAsMuchPerRowAsTheNearestSeen) {
  CostModel costs(16, 1);
  for (int i = 0; i < 2; ++i) costs.measured(kKey, 1e9, 2, 3);
  EXPECT_DOUBLE_EQ(costs.seconds(kKey, 1e9, 4), 6);
  EXPECT_DOUBLE_EQ(costs.seconds(kKey, 1e9, 1), 1.5);
}

TEST(CostModel, TheBatchGrowsWhileRowsBecomeCheaper) {
  CostModel costs(16, 1);
  EXPECT_EQ(settle(costs, kKey, [](double) { return 1.0; }), 16u);
}

TEST(CostModel, TheBatchStaysAtOneWhereSharingGainsNothing) {
  CostModel costs(16, 1);
  EXPECT_EQ(settle(costs, kKey, [](double rows) { return rows; }), 1u);
}

TEST(CostModel, TheBatchStopsWhereThroughputDoes) {
  CostModel costs(16, 1);
  // Free up to four rows, then in proportion.
  EXPECT_EQ(settle(costs, kKey, [](double rows) { return std::max(4.0, rows); }), 4u);
}

TEST(CostModel, ASettledLimitIsTriedAgainLater) {
  CostModel costs(4, 1);
  ASSERT_EQ(settle(costs, kKey, [](double rows) { return rows; }), 1u);
  std::size_t largest = 1;
  for (int i = 0; i < 600; ++i) {
    const std::size_t rows = costs.batch_limit(kKey);
    costs.measured(kKey, 1e9, rows, 1);
    largest = std::max(largest, rows);
  }
  EXPECT_EQ(largest, 4u);
}

TEST(CostModel, WhatDidNotFitIntoMemoryIsNotTriedAgain) {
  CostModel costs(16, 1);
  ASSERT_EQ(settle(costs, kKey, [](double) { return 1.0; }), 16u);
  costs.too_large(kKey, 12);
  EXPECT_EQ(costs.batch_limit(kKey), 4u);
  for (int i = 0; i < 2000; ++i) {
    costs.measured(kKey, 1e9, costs.batch_limit(kKey), 1);
    ASSERT_LE(costs.batch_limit(kKey), 4u);
  }
  costs.too_large(kKey, 1);
  EXPECT_EQ(costs.batch_limit(kKey), 1u);
}

TEST(CostModel, AnOddMaximumIsRoundedDownToAPowerOfTwo) {
  CostModel costs(12, 1);
  EXPECT_EQ(settle(costs, kKey, [](double) { return 1.0; }), 8u);
}

TEST(CostModel, RemembersABoundedNumberOfKeysTheLatestUsed) {
  CostModel costs(16, 1e9);
  for (std::uint64_t key = 0; key < 5000; ++key) {
    costs.measured({0, UnitKind::step, key}, 1e9, 1, 1 + 1e-3 * static_cast<double>(key));
    costs.measured(kKey, 1e9, 1, 7);
  }
  EXPECT_DOUBLE_EQ(costs.seconds(kKey, 1e9, 1), 7);
  const double by_rate = costs.seconds({0, UnitKind::step, 999'999}, 1e9, 1);
  EXPECT_DOUBLE_EQ(costs.seconds({0, UnitKind::step, 2}, 1e9, 1), by_rate) << "forgotten";
  EXPECT_DOUBLE_EQ(costs.seconds({0, UnitKind::step, 4990}, 1e9, 1), 1 + 4.990);
}

TEST(CostModel, AClockThatSawNothingPassStillGivesAPositiveCost) {
  CostModel costs(16, 1e9);
  for (int i = 0; i < 3; ++i) costs.measured(kKey, 0, 1, 0);
  EXPECT_GT(costs.seconds(kKey, 0, 1), 0);
  EXPECT_GT(costs.seconds_per_flop(0), 0);
}

}  // namespace
}  // namespace diffused::engine
