#include "engine/history.h"

#include <gtest/gtest.h>

#include "support/fake_clock.h"

namespace diffused::engine {
namespace {

struct HistoryRig {
  test::FakeClock clock;
  EngineObserver nobody;
  History history{clock, nobody};

  void job(Outcome outcome, double total_seconds, std::string_view reason = {}) {
    Timings timings;
    timings.queue_seconds = total_seconds / 2;
    timings.total_seconds = total_seconds;
    history.job_finished("m", outcome, reason, timings, 3);
  }
};

TEST(History, CountsByInterval) {
  HistoryRig rig;
  rig.history.unit_finished("m", UnitKind::encode, 1, 0.25);
  rig.history.unit_finished("m", UnitKind::step, 4, 0.5);
  rig.history.unit_finished("m", UnitKind::step, 2, 0.5);
  rig.job(Outcome::succeeded, 2);
  rig.clock.advance(2 * History::kIntervalSeconds);
  rig.job(Outcome::failed, 0, "out_of_memory");
  rig.job(Outcome::cancelled, 0);
  rig.history.rejected("m", "queue_full");

  const auto activity = rig.history.activity();
  ASSERT_EQ(activity.size(), 3u);
  EXPECT_EQ(activity[0].steps, 6u);
  EXPECT_EQ(activity[0].batches, 2u);
  EXPECT_EQ(activity[0].device_seconds, 1.25);
  EXPECT_EQ(activity[0].pictures, 3u);
  EXPECT_EQ(activity[0].total_seconds, std::vector<float>{2});
  EXPECT_EQ(activity[0].queue_seconds, std::vector<float>{1});
  EXPECT_EQ(activity[1].steps, 0u);
  EXPECT_EQ(activity[1].begin, activity[0].begin + History::kIntervalSeconds);
  EXPECT_EQ(activity[2].failed + activity[2].cancelled + activity[2].rejected, 3u);
  ASSERT_EQ(rig.history.failures().size(), 1u);
  EXPECT_EQ(rig.history.failures()[0].reason, "out_of_memory");
}

TEST(History, HoldsNoMoreThanAnHour) {
  HistoryRig rig;
  for (int i = 0; i < 1000; ++i) {
    for (int k = 0; k < 100; ++k) rig.job(i % 2 == 0 ? Outcome::succeeded : Outcome::failed, 1, "e");
    rig.clock.advance(History::kIntervalSeconds);
  }
  const auto activity = rig.history.activity();
  EXPECT_EQ(activity.size(), History::kIntervals);
  for (const auto& interval : activity)
    EXPECT_LE(interval.total_seconds.size(), History::kSamplesPerInterval);
  EXPECT_EQ(rig.history.failures().size(), History::kFailures);
}

TEST(History, BeginsAgainAfterALongSilence) {
  HistoryRig rig;
  rig.job(Outcome::succeeded, 1);
  rig.clock.advance(10.0 * 365 * 24 * 3600);
  const auto activity = rig.history.activity();
  ASSERT_EQ(activity.size(), 1u);
  EXPECT_EQ(activity[0].succeeded, 0u);
}

}  // namespace
}  // namespace diffused::engine
