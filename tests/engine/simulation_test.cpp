// Random arrival patterns through the real queue, batcher and device loop, without threads, under a fake
// clock. Every pattern follows from its seed: to look at one, run it alone with that seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "engine/rig.h"
#include "support/sanitized.h"

namespace diffused::engine {
namespace {

using test::Collector;
using test::FakeOptions;
using test::FakePipeline;
using test::FakeRow;
using test::FakeUnit;
using test::make_request;
using test::Rig;

// What an onlooker sees of who is here and what each gets; it shares no code with the batcher.
class Onlooker {
 public:
  void row_begins(const std::string& user, int side) { ++rows_[user][side]; }
  void row_leaves(const std::string& user, int side) {
    if (--rows_[user][side] == 0) rows_[user].erase(side);
    if (rows_[user].empty()) leave(user);
  }
  void unit_runs(const std::vector<std::pair<std::string, int>>& members, double seconds) {
    longest_unit = std::max(longest_unit, seconds);
    double weights = 0;
    for (const auto& [user, side] : members) weights += row_weight(user, side);
    std::set<std::string> served;
    for (const auto& [user, side] : members) {
      received_[user] += seconds * row_weight(user, side) / weights;
      served.insert(user);
    }
    for (const auto& [user, flows] : rows_) {
      waited_[user] = served.contains(user) ? 0 : waited_[user] + seconds;
      longest_wait = std::max(longest_wait, waited_[user]);
      // What it has received beyond half of an equal part; a user whose row begins late is here from then on.
      beyond_[user] -= seconds / (2 * static_cast<double>(rows_.size()));
      const double beyond = received_[user] + beyond_[user];
      most_beyond_[user] = std::max(most_beyond_.try_emplace(user, beyond).first->second, beyond);
      widest_gap = std::max(widest_gap, most_beyond_[user] - beyond);
    }
  }

  double longest_unit = 0;
  double longest_wait = 0;  // of a user with a row in flight, for its next unit
  double widest_gap = 0;    // by which a user fell behind half of an equal part while it had rows

 private:
  double row_weight(const std::string& user, int side) const {
    const auto& flows = rows_.at(user);
    return 1.0 / static_cast<double>(flows.size()) / flows.at(side);
  }
  void leave(const std::string& user) {
    rows_.erase(user);
    waited_.erase(user);
    beyond_.erase(user);
    most_beyond_.erase(user);
  }

  std::map<std::string, std::map<int, int>> rows_;  // by user, by side
  std::map<std::string, double> received_, waited_, beyond_, most_beyond_;
};

struct Job {
  std::string user;
  GenerateRequest request;
  Collector collector;
  bool accepted = false;
  std::size_t begun = 0, left = 0;
};

struct Pattern {
  explicit Pattern(unsigned seed) : random(seed) {}
  int number(int low, int high) { return std::uniform_int_distribution<>(low, high)(random); }
  bool chance(int percent) { return number(1, 100) <= percent; }

  std::mt19937 random;
};

struct Observed {
  double wait_units = 0, gap_units = 0;
  int jobs = 0, done = 0, failed = 0, refused = 0;
};

EngineOptions draw_options(Pattern& pattern) {
  EngineOptions options;
  options.batch_rows_max = static_cast<std::size_t>(1 << pattern.number(0, 4));
  options.rows_active_max = static_cast<std::size_t>(pattern.number(1, 20));
  if (pattern.chance(20)) options.jobs_waiting_max = static_cast<std::size_t>(pattern.number(1, 4));
  return options;
}

// How the jobs ended; every picture is checked.
Observed endings_of(const std::vector<std::unique_ptr<Job>>& jobs, const FakePipeline& pipeline,
                    unsigned seed) {
  Observed observed;
  for (const auto& job : jobs) {
    EXPECT_EQ(job->collector.ended(), job->accepted) << "seed " << seed;
    ++observed.jobs;
    observed.refused += !job->accepted;
    if (!job->accepted) continue;
    const bool failed = job->collector.wait().has_value();
    ++(failed ? observed.failed : observed.done);
    if (failed) continue;
    const auto pictures = job->collector.all<ImageReady>();
    EXPECT_EQ(pictures.size(), job->request.n()) << "seed " << seed;
    for (const ImageReady& picture : pictures)
      EXPECT_EQ(picture.image.pixels, pipeline.expected(job->request, picture.image_index).pixels) << seed;
  }
  return observed;
}

Observed simulate(unsigned seed) {
  Pattern pattern(seed);
  Onlooker onlooker;
  std::vector<std::unique_ptr<Job>> jobs;
  const auto job_of = [&](const GenerateRequest& request) -> Job& {
    return *jobs[std::stoul(request.prompt)];
  };

  FakeOptions fake;
  fake.encode = pattern.chance(70);
  fake.layers = pattern.chance(50) ? 1 : pattern.number(2, 8);
  const double per_row = pattern.number(1, 10) / 10.0;
  fake.seconds = [&, per_row](const FakeUnit& unit) {
    const double one = unit.kind == UnitKind::encode ? 0.002 : static_cast<double>(unit.pixels()) * 1e-4;
    const double seconds = one * (1 + per_row * static_cast<double>(unit.rows.size() - 1));
    std::vector<std::pair<std::string, int>> members;
    for (const FakeRow* row : unit.rows) members.emplace_back(job_of(row->request).user, *row->request.width);
    onlooker.unit_runs(members, seconds);
    return seconds;
  };
  fake.before_begin = [&](const GenerateRequest& request, std::size_t) {
    onlooker.row_begins(job_of(request).user, *request.width);
    ++job_of(request).begun;
    return Result<void>();
  };
  Rig rig(fake, draw_options(pattern));
  const auto row_leaves = [&](Job& job) {
    ++job.left;
    onlooker.row_leaves(job.user, *job.request.width);
  };
  const int count = pattern.number(1, 16);
  const double span = pattern.number(0, 40) / 100.0;
  const int users = pattern.number(1, 4);
  for (int i = 0; i < count; ++i) {
    jobs.push_back(std::make_unique<Job>());
    Job& job = *jobs.back();
    job.user = std::string(1, static_cast<char>('a' + pattern.number(1, users)));
    std::vector<std::uint64_t> seeds;
    for (int n = pattern.chance(70) ? 1 : pattern.number(2, 4); n > 0; --n) seeds.push_back(pattern.random());
    job.request = make_request(std::to_string(i), seeds, 8 * pattern.number(1, 4), pattern.number(1, 10));
    const double when = span * pattern.number(0, 1000) / 1000;
    const double cancel_after = pattern.chance(20) ? pattern.number(0, 300) / 1000.0 : -1;
    const double deadline = pattern.chance(10) ? pattern.number(0, 300) / 1000.0 : -1;
    rig.at(when, [&rig, &job, row_leaves, cancel_after, deadline] {
      SubmitOptions wanted;
      wanted.user = job.user;
      if (deadline >= 0)
        wanted.deadline = rig.clock.now() + std::chrono::milliseconds(std::llround(deadline * 1000));
      const auto submitted =
          rig.submit(job.request, wanted, [&job, row_leaves, sink = job.collector.sink()](Event event) {
            if (std::holds_alternative<ImageReady>(event)) row_leaves(job);
            if (std::holds_alternative<JobFailed>(event))
              while (job.left < job.begun) row_leaves(job);
            sink(std::move(event));
          });
      job.accepted = submitted.place.has_value();
      if (cancel_after >= 0)
        rig.at(rig.clock.seconds() + cancel_after, [flag = submitted.cancelled] { *flag = true; });
    });
  }
  rig.run();

  Observed observed = endings_of(jobs, *rig.pipeline, seed);
  if (onlooker.longest_unit > 0) {
    observed.wait_units = onlooker.longest_wait / onlooker.longest_unit;
    observed.gap_units = onlooker.widest_gap / onlooker.longest_unit;
  }
  return observed;
}

TEST(Simulation, TenThousandPatternsStarveNobody) {
  constexpr int kPatterns = test::kSanitized ? 500 : 10'000;
  Observed worst;
  for (unsigned seed = 0; seed < unsigned{kPatterns}; ++seed) {
    const Observed observed = simulate(seed);
    // Up to four users with up to four sizes each, in units of the pattern's longest.
    EXPECT_LE(observed.wait_units, 8) << "seed " << seed;
    EXPECT_LE(observed.gap_units, 5) << "seed " << seed;
    worst.wait_units = std::max(worst.wait_units, observed.wait_units);
    worst.gap_units = std::max(worst.gap_units, observed.gap_units);
    worst.done += observed.done;
    worst.failed += observed.failed;
    worst.refused += observed.refused;
  }
  RecordProperty("longest_wait_units", std::to_string(worst.wait_units));
  RecordProperty("widest_gap_units", std::to_string(worst.gap_units));
  EXPECT_GT(worst.done, 4 * kPatterns);
  EXPECT_GT(worst.failed, kPatterns);
  EXPECT_GT(worst.refused, kPatterns / 10);
}

// One 28-step job of large pictures runs; `clients` others each ask for a small one of 4 steps of 256x256,
// wait for it, think for `think` seconds on average, and ask again. `ratio`: how much longer a large unit is.
struct LargeAndSmall {
  double small_alone = 0, large_alone = 0;  // seconds
  std::vector<double> small;                // seconds of each, sorted
  double large = 0;
};

LargeAndSmall run_large_and_small(double ratio, bool one_user, int clients, double think, unsigned seed) {
  const auto seconds = [ratio](const FakeUnit& unit) {
    if (unit.kind == UnitKind::encode) return 0.002;
    const double step = unit.pixels() > 256 * 256 ? 0.01 * ratio : 0.01;
    return (unit.kind == UnitKind::decode ? 1.5 : 1.0) * step *
           (1 + 0.6 * static_cast<double>(unit.rows.size() - 1));
  };
  LargeAndSmall result;
  result.small_alone = 0.002 + (4 + 1.5) * 0.01;
  result.large_alone = 0.002 + (28 + 1.5) * 0.01 * ratio;
  FakeOptions fake;
  fake.seconds = seconds;
  Rig rig(fake);
  const auto submit = [&rig](const GenerateRequest& request, std::string user, std::function<void()> done) {
    rig.submit(request, {.user = std::move(user)}, [done](const Event& event) {
      if (std::holds_alternative<JobDone>(event)) done();
    });
  };
  bool running = true;
  submit(make_request("large", {1}, 1024, 28), "one", [&] {
    result.large = rig.clock.seconds();
    running = false;
  });
  std::mt19937 random(seed);
  std::exponential_distribution<> thinking(1 / think);
  const std::function<void()> ask = [&] {
    const double when = rig.clock.seconds() + thinking(random);
    rig.at(when, [&, when] {
      if (!running) return;
      submit(make_request("small", {1}, 256, 4), one_user ? "one" : "other", [&, when] {
        result.small.push_back(rig.clock.seconds() - when);
        ask();
      });
    });
  };
  for (int i = 0; i < clients; ++i) ask();
  rig.run();
  std::sort(result.small.begin(), result.small.end());
  return result;
}

TEST(Simulation, SmallJobsDoNotWaitForALargeOneNorItForThem) {
  for (const double ratio : {1.0, 4.0, 7.0}) {  // of 7, decoding takes nearly as long as two small jobs alone
    for (const bool one_user : {true, false}) {
      std::vector<double> small;
      double small_alone = 0;
      for (unsigned seed = 0; seed < (test::kSanitized ? 25 : 40); ++seed) {
        const LargeAndSmall run = run_large_and_small(ratio, one_user, 1, 0.1, seed);
        EXPECT_LE(run.large, 2 * run.large_alone + 0.015);  // one small unit
        small.insert(small.end(), run.small.begin(), run.small.end());
        small_alone = run.small_alone;
      }
      std::sort(small.begin(), small.end());
      ASSERT_GT(small.size(), 40u);
      EXPECT_LE(small[small.size() * 99 / 100], 3 * small_alone) << ratio << " " << one_user;
      const double longest_unit = 1.5 * 0.01 * ratio;
      EXPECT_LE(small.back(), longest_unit + 2 * small_alone) << ratio << " " << one_user;
    }
  }
}

// What `./dev bench attack long_units` plays: three users who always have a large picture under way, in units
// of ten layers, and one who asks for a small one after the other.
TEST(Simulation, ASmallJobBesideManyLargeOnesTakesAtMostThriceItsTimeAlone) {
  constexpr double kStep = 0.003, kAlone = (20 + 1.5) * kStep;
  FakeOptions fake;
  fake.encode = false;
  fake.layers = 10;
  fake.seconds = [](const FakeUnit& unit) {
    const double step =
        unit.pixels() > 64 * 64 ? 50 * kStep * static_cast<double>(unit.pixels()) / (1024 * 1024) : kStep;
    return (unit.kind == UnitKind::decode ? 1.5 : 1.0) * step *
           (1 + 0.9 * static_cast<double>(unit.rows.size() - 1));
  };
  Rig rig(fake);
  std::vector<double> small;
  std::map<std::string, int> large;
  const std::function<void(std::string, int, int)> ask = [&](std::string user, int side, int steps) {
    const double begun = rig.clock.seconds();
    if (begun > 60) return;
    rig.submit(make_request(user, {1}, side, steps), {.user = user},
               [&, user, side, steps, begun](Event event) {
                 if (!std::holds_alternative<JobDone>(event)) return;
                 if (side == 64) small.push_back(rig.clock.seconds() - begun);
                 large[user] += side == 64 ? 0 : 1;
                 rig.at(rig.clock.seconds() + 0.002, [&, user, side, steps] {
                   ask(user, side == 64 ? 64 : side == 512 ? 1024 : 512, steps);
                 });
               });
  };
  ask("honest", 64, 20);
  for (const char* const user : {"a", "b", "c"}) ask(user, 1024, 20);
  rig.run();
  std::sort(small.begin(), small.end());
  ASSERT_GT(small.size(), 300u);
  EXPECT_LE(small[small.size() / 2], 2.3 * kAlone);
  EXPECT_LE(small[small.size() * 99 / 100], 3 * kAlone);
  for (const char* const user : {"a", "b", "c"}) EXPECT_GE(large[user], 3) << user << " is not starved";
}

TEST(Simulation, SmallJobsInAnyNumberAtMostDoubleALargeOnesTime) {
  for (const double ratio : {1.0, 8.0})
    for (const int clients : {1, 4, 30})
      for (const bool one_user : {true, false}) {
        const LargeAndSmall run = run_large_and_small(ratio, one_user, clients, 1e-4, 1);
        // The last unit may begin one small unit late.
        EXPECT_LE(run.large, 2 * run.large_alone + 0.1) << ratio << " " << clients << " " << one_user;
      }
}

}  // namespace
}  // namespace diffused::engine
