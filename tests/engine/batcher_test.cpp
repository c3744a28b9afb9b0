#include "engine/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace diffused::engine {
namespace {

using testing::ElementsAre;

BatchKey step(std::uint64_t key, std::size_t model = 0) { return {model, UnitKind::step, key}; }

RowDescription row(std::string user, BatchKey unit, std::uint64_t lane = 0, std::uint64_t last_turn = 0) {
  return {.flow = {std::move(user), lane}, .unit = unit, .flops = 1e9, .last_turn = last_turn};
}

// Costs as if this key had been measured with every number of rows up to `rows_max`, which is also the batch
// limit.
void teach(CostModel& costs, const BatchKey& key, std::size_t rows_max, double (*seconds)(std::size_t rows)) {
  for (std::size_t rows = 1; rows <= rows_max; rows *= 2)
    for (int i = 0; i < 4; ++i)
      costs.measured(key, 1e9, rows, 1.0 / static_cast<double>(rows));  // opens the limit
  for (std::size_t rows = 1; rows <= rows_max; ++rows)
    for (int i = 0; i < 40; ++i) costs.measured(key, 1e9, rows, seconds(rows));
  ASSERT_GE(costs.batch_limit(key), rows_max);
}

double flat(std::size_t) { return 1; }
double nearly_linear(std::size_t rows) { return 1 + 0.85 * static_cast<double>(rows - 1); }

void charge_batch(const std::vector<RowDescription>& rows, const std::vector<std::size_t>& batch,
                  double seconds, Turns& turns) {
  std::vector<Flow> members;
  for (const std::size_t i : batch) members.push_back(rows[i].flow);
  charge(members, seconds, turns);
}

// Runs turns over rows that never end, and books for each row how often it ran and for each user the seconds.
struct Machine {
  explicit Machine(std::vector<RowDescription> present) : rows(std::move(present)), runs(rows.size()) {}
  std::vector<std::size_t> turn(double seconds) {
    const auto batch = plan(rows, costs, turns);
    charge_batch(rows, batch, seconds, turns);
    for (const std::size_t i : batch) {
      ++runs[i];
      rows[i].last_turn = turns.count;
      seconds_of[rows[i].flow.user] += seconds / static_cast<double>(batch.size());
    }
    return batch;
  }
  std::vector<RowDescription> rows;
  std::vector<int> runs;
  std::map<std::string, double> seconds_of;
  CostModel costs{8, 1e9};
  Turns turns;
};

TEST(Plan, RunsALoneRowAtOnce) {
  Machine machine({row("a", step(1))});
  EXPECT_THAT(machine.turn(1), ElementsAre(0));
  EXPECT_THAT(machine.turn(1), ElementsAre(0));
}

TEST(Plan, RowsOfEqualKeyShareAUnitWhoseverTheyAre) {
  Machine machine({row("a", step(1)), row("b", step(1)), row("a", step(1)), row("c", step(1))});
  teach(machine.costs, step(1), 8, flat);
  EXPECT_EQ(machine.turn(1).size(), 4u);
}

TEST(Plan, AUnitHasNoMoreRowsThanAreWorthIt) {
  Machine machine(std::vector<RowDescription>(6, row("a", step(1))));
  EXPECT_EQ(machine.turn(1).size(), 1u) << "nothing is measured yet";
  teach(machine.costs, step(1), 4, flat);
  machine.costs.too_large(step(1), 8);
  EXPECT_EQ(machine.turn(1).size(), 4u);
}

TEST(Plan, AUnitIsNoLongerThanAllowed) {
  Machine machine(std::vector<RowDescription>(8, row("a", step(1))));
  teach(machine.costs, step(1), 8, nearly_linear);
  EXPECT_EQ(plan(machine.rows, machine.costs, machine.turns).size(), 8u);
  EXPECT_EQ(plan(machine.rows, machine.costs, machine.turns, 3).size(), 3u);
  EXPECT_EQ(plan(machine.rows, machine.costs, machine.turns, 0.1).size(), 1u);
}

TEST(Plan, NeverMixesKeysKindsOrModels) {
  std::vector<RowDescription> rows;
  for (const std::size_t model : {0, 1})
    for (const std::uint64_t key : {1, 2})
      for (const UnitKind kind : {UnitKind::encode, UnitKind::step, UnitKind::decode})
        for (int twice = 0; twice < 2; ++twice) rows.push_back(row("a", {model, kind, key}));
  Machine machine(rows);
  for (const RowDescription& each : rows) teach(machine.costs, each.unit, 8, flat);
  for (int i = 0; i < 100; ++i) {
    const auto batch = machine.turn(1);
    for (const std::size_t member : batch) EXPECT_EQ(rows[member].unit, rows[batch.front()].unit);
  }
  for (const int runs : machine.runs) EXPECT_GT(runs, 0);
}

TEST(Plan, RowsOfOneFlowTakeTurns) {
  Machine machine(std::vector<RowDescription>(3, row("a", step(1))));
  for (int i = 0; i < 30; ++i) machine.turn(1);
  EXPECT_THAT(machine.runs, ElementsAre(10, 10, 10));
}

TEST(Plan, UsersGetEqualSecondsHoweverManyRowsAndSizesTheyAskFor) {
  std::vector<RowDescription> rows = {row("modest", step(0))};
  for (std::uint64_t lane = 1; lane <= 5; ++lane)
    for (int i = 0; i < 4; ++i) rows.push_back(row("greedy", step(lane), lane));
  Machine machine(rows);
  for (int i = 0; i < 1000; ++i) machine.turn(1);
  EXPECT_NEAR(machine.seconds_of["modest"], 500, 3);
  EXPECT_NEAR(machine.seconds_of["greedy"], 500, 3);
}

RowDescription picture(std::string user, BatchKey unit, double seconds) {
  RowDescription made = row(std::move(user), unit, unit.key);
  made.picture_seconds = seconds;
  return made;
}

TEST(Plan, WhoAsksForLeastHasHalfAndTheOthersShareTheRest) {
  Machine machine({picture("light", step(1), 1), picture("a", step(2), 100), picture("b", step(3), 60),
                   picture("c", step(4), 30)});
  for (int i = 0; i < 600; ++i) machine.turn(1);
  EXPECT_NEAR(machine.seconds_of["light"], 300, 3);
  for (const char* const heavy : {"a", "b", "c"}) EXPECT_NEAR(machine.seconds_of[heavy], 100, 3);
}

TEST(Plan, WhatIsNearlyAsLittleIsAsLight) {
  Machine machine({picture("a", step(1), 1), picture("b", step(2), 1.9), picture("c", step(3), 2.1)});
  for (int i = 0; i < 300; ++i) machine.turn(1);
  for (const char* const user : {"a", "b", "c"}) EXPECT_NEAR(machine.seconds_of[user], 100, 3);
}

TEST(Plan, ManySmallPicturesAreNotLight) {
  std::vector<RowDescription> rows(10, picture("many", step(1), 1));
  rows.push_back(picture("large", step(2), 4));
  rows.push_back(picture("other", step(3), 10));
  Machine machine(rows);
  for (int i = 0; i < 400; ++i) machine.turn(1);
  EXPECT_NEAR(machine.seconds_of["large"], 200, 3);
  EXPECT_NEAR(machine.seconds_of["many"], 100, 3);
}

// Inside a unit that has given way: what is owed to those who could run.
class Inside : public testing::Test {
 protected:
  Inside() {
    machine.costs.measured(step(1), 1e9, 1, 8);
    machine.costs.measured(step(2), 1e9, 1, 2);
    machine.costs.measured(step(3), 1e9, 1, 5);
    EXPECT_THAT(machine.turn(1), ElementsAre(0));
    machine.rows[0].readiness = Readiness::running;
  }
  void come(RowDescription newcomer) {
    machine.rows.push_back(std::move(newcomer));
    machine.runs.push_back(0);
  }
  std::vector<std::size_t> inside(double unit_seconds_max = 4) {
    return plan_inside(machine.rows, machine.costs, machine.turns, unit_seconds_max);
  }
  Machine machine{{row("long", step(1))}};
};

TEST_F(Inside, NothingRunsWhereNobodyElseIs) { EXPECT_TRUE(inside().empty()); }

TEST_F(Inside, AShorterUnitOfWhoIsOwedMoreRuns) {
  come(row("short", step(2)));
  EXPECT_THAT(inside(), ElementsAre(1));
}

TEST_F(Inside, AUnitNearlyAsLongWaits) {
  come(row("other", step(3)));
  EXPECT_TRUE(inside().empty());
  come(row("short", step(2)));
  charge_batch(machine.rows, {0}, 1, machine.turns);
  EXPECT_THAT(inside(), ElementsAre(2)) << "though one that may not is before it";
}

TEST_F(Inside, WhatCanShareTheNextUnitWaitsForIt) {
  come(row("other", step(1)));
  EXPECT_TRUE(inside(100).empty());
}

TEST_F(Inside, NothingRunsThatIsBarred) {
  come(row("short", step(2)));
  machine.rows[1].readiness = Readiness::barred;
  EXPECT_TRUE(inside().empty());
}

TEST_F(Inside, WhoHadItsPartLetsTheLongUnitGoOn) {
  come(row("short", step(2)));
  charge_batch(machine.rows, inside(), 2, machine.turns);
  EXPECT_TRUE(inside().empty());
  charge_batch(machine.rows, {0}, 4, machine.turns);
  EXPECT_THAT(inside(), ElementsAre(1));
}

TEST(Plan, SizesOfOneUserGetEqualSecondsWhateverAUnitCosts) {
  Machine machine({row("a", step(1), 1), row("a", step(2), 2)});
  double small = 0, large = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::size_t is_large = plan(machine.rows, machine.costs, machine.turns).front();
    charge_batch(machine.rows, {is_large}, is_large ? 16 : 1, machine.turns);
    (is_large ? large : small) += is_large ? 16 : 1;
  }
  EXPECT_NEAR(small, large, 17);
}

TEST(Plan, ANewcomerGoesBeforeThoseThatRanWhileItCame) {
  Machine machine({row("large", step(1))});
  machine.turn(10);
  machine.rows.push_back(row("small", step(2)));
  machine.runs.push_back(0);
  for (int i = 0; i < 10; ++i)
    EXPECT_THAT(machine.turn(1), ElementsAre(1)) << i;  // as long as the large unit took
  EXPECT_THAT(machine.turn(10), ElementsAre(0));
}

TEST(Plan, ALightUserIsNotSlowedToThePaceOfAHeavyOnesBatch) {
  std::vector<RowDescription> rows(7, row("heavy", step(1)));
  rows.push_back(row("light", step(1)));
  Machine machine(rows);
  teach(machine.costs, step(1), 8, nearly_linear);
  double seconds = 0;
  while (seconds < 1000) {
    const auto batch = plan(machine.rows, machine.costs, machine.turns);
    const double unit = nearly_linear(batch.size());
    machine.turn(unit);
    seconds += unit;
  }
  // Alone it would have made 1000 steps; with half of the device it makes half of them, sharing or not.
  EXPECT_GE(machine.runs.back(), 400);
}

TEST(Plan, CompanyIsWelcomeWhereItCostsNothing) {
  std::vector<RowDescription> rows(7, row("heavy", step(1)));
  rows.push_back(row("light", step(1)));
  Machine machine(rows);
  teach(machine.costs, step(1), 8, flat);
  EXPECT_EQ(machine.turn(1).size(), 8u);
}

TEST(Plan, AFlowFarAheadDoesNotJoin) {
  Machine machine({row("a", step(1)), row("b", step(1))});
  teach(machine.costs, step(1), 8, flat);
  machine.turns.ledger[{"a", 0}].owed_seconds = 9;
  machine.turns.ledger[{"b", 0}].owed_seconds = -9;
  EXPECT_THAT(machine.turn(1), ElementsAre(0));
  for (int i = 0; i < 20; ++i) machine.turn(1);
  EXPECT_EQ(machine.turn(1).size(), 2u);
}

TEST(Plan, ARowThatMustBeAloneNeitherJoinsNorIsJoined) {
  Machine machine({row("a", step(1)), row("b", step(1)), row("c", step(1))});
  teach(machine.costs, step(1), 8, flat);
  machine.rows[1].alone = true;
  std::set<std::vector<std::size_t>> seen;
  for (int i = 0; i < 6; ++i) seen.insert(machine.turn(1));
  EXPECT_THAT(seen, ElementsAre(std::vector<std::size_t>{0, 2}, std::vector<std::size_t>{1}));
}

TEST(Plan, ComingBackAtOnceGainsNothing) {
  // One user's job never ends; the other's end after every unit, and a new one comes at once.
  Machine machine({row("steady", step(1))});
  double steady = 0, hopping = 0;
  for (int i = 0; i < 1000; ++i) {
    machine.rows.resize(1);
    machine.rows.push_back(row("hopping", step(2), 0, machine.turns.count));
    const auto batch = plan(machine.rows, machine.costs, machine.turns);
    charge_batch(machine.rows, batch, 1, machine.turns);
    (batch.front() == 0 ? steady : hopping) += 1;
    if (batch.front() == 1) {  // a turn in which the hopping user is away
      machine.rows.resize(1);
      const auto alone = plan(machine.rows, machine.costs, machine.turns);
      charge_batch(machine.rows, alone, 0, machine.turns);
    }
  }
  EXPECT_NEAR(steady, hopping, 3);
}

TEST(Plan, AnEndlessStreamOfNewUsersDoesNotStarveALongJob) {
  // Every turn a user never seen before asks for one unit; two of them are always waiting.
  Machine machine({row("long", step(1))});
  int fresh = 0, longest_wait = 0, wait = 0;
  for (int i = 0; i < 2000; ++i) {
    while (machine.rows.size() < 3)
      machine.rows.push_back(row("user" + std::to_string(fresh++), step(2), 0, machine.turns.count));
    const auto batch = plan(machine.rows, machine.costs, machine.turns);
    charge_batch(machine.rows, batch, 1, machine.turns);
    wait = batch.front() == 0 ? 0 : wait + 1;
    longest_wait = std::max(longest_wait, wait);
    if (batch.front() != 0)
      machine.rows.erase(machine.rows.begin() + static_cast<std::ptrdiff_t>(batch.front()));
  }
  EXPECT_LE(longest_wait, 70);  // those remembered, and those here
  EXPECT_LE(machine.turns.ledger.size(), 64u + 4u);
}

TEST(Plan, WhatIsOwedSumsToZero) {
  Machine machine({row("a", step(1)), row("b", step(2), 1), row("b", step(3), 2), row("c", step(1))});
  teach(machine.costs, step(1), 8, nearly_linear);
  for (int i = 0; i < 100; ++i) machine.turn(0.1 * (i % 7));
  machine.turn(0);
  plan(machine.rows, machine.costs, machine.turns);
  double sum = 0;
  for (const auto& [flow, standing] : machine.turns.ledger) sum += standing.owed_seconds;
  EXPECT_NEAR(sum, 0, 1e-9);
}

TEST(Plan, WhatALeaverWasOwedGoesToTheOthers) {
  Machine machine({row("a", step(1)), row("b", step(2))});
  machine.turn(4);  // a runs
  machine.turn(0);  // the half of it that b is owed is booked
  EXPECT_NEAR((machine.turns.ledger.at({"a", 0}).owed_seconds), -2, 1e-9);
  machine.rows.pop_back();
  machine.turn(0);
  EXPECT_EQ(machine.turns.ledger.size(), 1u);
  EXPECT_NEAR((machine.turns.ledger.at({"a", 0}).owed_seconds), 0, 1e-9);
}

TEST(Plan, OnlyTheFurthestAheadOfManyThatLeftAreRemembered) {
  Machine machine({row("here", step(1))});
  for (std::uint64_t i = 1; i <= 200; ++i)
    machine.turns.ledger[{"gone", i}].owed_seconds = -static_cast<double>(i);
  machine.turn(1);
  EXPECT_EQ(machine.turns.ledger.size(), 64u + 1u);
  EXPECT_TRUE(machine.turns.ledger.contains({"gone", 200}));
  EXPECT_FALSE(machine.turns.ledger.contains({"gone", 136}));
}

}  // namespace
}  // namespace diffused::engine
