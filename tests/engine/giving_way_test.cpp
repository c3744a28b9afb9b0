// Units that give way between their layers, on the engine turned by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

#include "engine/rig.h"

namespace diffused::engine {
namespace {

using test::Collector;
using test::FakeOptions;
using test::FakeUnit;
using test::make_request;
using test::Rig;

struct UnitSeconds : EngineObserver {
  void unit_finished(std::string_view, UnitKind, std::size_t, double seconds) override {
    units.push_back(seconds);
  }
  std::vector<double> units;
};

// A step of 256x256 has ten layers of one second each.
FakeOptions layered(double step_seconds = 10) {
  FakeOptions fake;
  fake.encode = false;
  fake.layers = 10;
  fake.seconds = test::fake_costs(step_seconds);
  return fake;
}

TEST(GivingWay, AShortJobIsDoneWithinALongUnit) {
  std::vector<std::uint64_t> begun;
  FakeOptions fake = layered();
  fake.before_unit = [&](const FakeUnit& unit) { begun.push_back(unit.pixels()); };
  UnitSeconds recorded;
  Rig rig(fake, {}, &recorded);
  Collector large, small;
  rig.submit(make_request("large", {1}, 256, 1), {.user = "a"}, large.sink());
  std::vector<double> small_ended;
  rig.at(2.5, [&] {
    rig.submit(make_request("small", {2}, 16, 2), {.user = "b"}, [&, sink = small.sink()](Event event) {
      if (std::holds_alternative<JobDone>(event)) small_ended.push_back(rig.clock.seconds());
      sink(std::move(event));
    });
  });
  rig.run();
  EXPECT_FALSE(large.wait());
  EXPECT_FALSE(small.wait());
  EXPECT_THAT(begun, testing::ElementsAre(256 * 256, 16 * 16, 16 * 16, 16 * 16, 256 * 256));
  const double small_seconds = (2 + 1.5) * 10.0 / 256;
  EXPECT_THAT(small_ended, testing::ElementsAre(testing::DoubleNear(3 + small_seconds, 1e-6)));
  EXPECT_EQ(small.all<ImageReady>().front().image.pixels,
            rig.pipeline->expected(make_request("small", {2}, 16, 2), 0).pixels);
  ASSERT_EQ(recorded.units.size(), 5u);
  EXPECT_NEAR(recorded.units[3], 10, 1e-6) << "the long unit's time is its own";
}

TEST(GivingWay, AUnitThatNobodyWantsIsGivenUp) {
  Rig rig(layered());
  Collector large, next;
  const auto cancelled = rig.submit(make_request("large", {1}, 256, 1), {}, large.sink()).cancelled;
  rig.at(2.5, [&] { *cancelled = true; });
  ASSERT_TRUE(rig.loop.turn());
  EXPECT_EQ(large.wait()->code, ErrorCode::cancelled);
  EXPECT_NEAR(rig.clock.seconds(), 3, 1e-6);
  EXPECT_EQ(rig.pipeline->live_rows(), 0);
  rig.submit(make_request("next"), {}, next.sink());
  rig.run();
  EXPECT_FALSE(next.wait());
}

TEST(GivingWay, ACancelledRowOfAUnitThatOthersWantStaysUntilItsEnd) {
  FakeOptions fake = layered();
  fake.seconds = test::fake_costs(10, 0);
  Rig rig(fake);
  Collector one, other;
  const auto cancelled = rig.submit(make_request("p", {1}, 256, 40), {}, one.sink()).cancelled;
  rig.submit(make_request("p", {2}, 256, 40), {}, other.sink());
  while (rig.clock.seconds() < 100) ASSERT_TRUE(rig.loop.turn());  // they share units by now
  rig.at(rig.clock.seconds() + 2.5, [&] { *cancelled = true; });
  ASSERT_TRUE(rig.loop.turn());
  EXPECT_EQ(one.wait()->code, ErrorCode::cancelled);
  EXPECT_EQ(rig.pipeline->live_rows(), 1);
  rig.run();
  EXPECT_FALSE(other.wait());
  EXPECT_EQ(other.all<ImageReady>().front().image.pixels,
            rig.pipeline->expected(make_request("p", {2}, 256, 40), 0).pixels);
}

TEST(GivingWay, WhatLacksMemoryInsideAnotherUnitIsRunAgainByItself) {
  int running = 0, refused = 0;
  FakeOptions fake = layered();
  fake.before_unit = [&](const FakeUnit& unit) {
    running += unit.pixels() == 256 * 256 ? 1 : 0;
    if (unit.pixels() == 256 * 256 || running != 1 || refused > 0) return;
    ++refused;
    throw std::bad_alloc();
  };
  Rig rig(fake);
  Collector large, small;
  rig.submit(make_request("large", {1}, 256, 2), {.user = "a"}, large.sink());
  rig.at(2.5, [&] { rig.submit(make_request("small", {2}, 16, 2), {.user = "b"}, small.sink()); });
  rig.run();
  EXPECT_EQ(refused, 1);
  EXPECT_FALSE(large.wait());
  EXPECT_FALSE(small.wait());
}

TEST(GivingWay, WorkElsewhereStandsStillWhileOthersRun) {
  struct Process : WorkElsewhere {
    void halt() override { said += 'h'; }
    void resume() override { said += 'r'; }
    std::string said;
  } process;
  FakeOptions fake = layered();
  fake.elsewhere = &process;
  fake.before_unit = [&](const FakeUnit& unit) { process.said += unit.pixels() > 16 * 16 ? 'L' : 's'; };
  Rig rig(fake);
  Collector large, small;
  rig.submit(make_request("large", {1}, 256, 1), {.user = "a"}, large.sink());
  rig.at(2.5, [&] { rig.submit(make_request("small", {2}, 16, 1), {.user = "b"}, small.sink()); });
  rig.run();
  EXPECT_EQ(process.said, "LhssrL");
}

TEST(GivingWay, NothingOfABusyPipelineRunsInsideItsUnit) {
  FakeOptions fake = layered();
  fake.one_at_a_time = true;
  std::vector<std::uint64_t> begun;
  fake.before_unit = [&](const FakeUnit& unit) { begun.push_back(unit.pixels()); };
  Rig rig(fake);
  Collector large, small, gone;
  rig.submit(make_request("large", {1}, 256, 2), {.user = "a"}, large.sink());
  std::shared_ptr<std::atomic<bool>> cancelled;
  rig.at(2.5, [&] {
    rig.submit(make_request("small", {2}, 16, 1), {.user = "b"}, small.sink());
    cancelled = rig.submit(make_request("gone", {3}, 16, 9), {.user = "c"}, gone.sink()).cancelled;
  });
  rig.at(13.5, [&] { *cancelled = true; });
  rig.run();
  EXPECT_FALSE(large.wait());
  EXPECT_FALSE(small.wait());
  EXPECT_EQ(begun[1], 16u * 16) << "it waited for the end";
}

}  // namespace
}  // namespace diffused::engine
