#include "engine/device_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "engine/rig.h"

namespace diffused::engine {
namespace {

using test::Collector;
using test::FakeOptions;
using test::FakeRow;
using test::FakeUnit;
using test::make_request;
using test::Rig;

// Submits one job and turns until nothing is left.
std::optional<Error> run_one(Rig& rig, const GenerateRequest& request) {
  Collector collector;
  EXPECT_TRUE(rig.submit(request, {}, collector.sink()).place);
  rig.run();
  return collector.wait();
}

bool is_poison(const FakeRow& row) { return row.request.prompt == "poison"; }

bool holds_poison(const FakeUnit& unit) {
  return std::any_of(unit.rows.begin(), unit.rows.end(), [](const FakeRow* row) { return is_poison(*row); });
}

struct Recorder : EngineObserver {
  void unit_finished(std::string_view, UnitKind kind, std::size_t rows, double seconds) override {
    units.emplace_back(kind, rows, seconds);
  }
  void job_finished(std::string_view, Outcome outcome, std::string_view reason, const Timings&,
                    std::size_t images) override {
    jobs.emplace_back(outcome, std::string(reason), images);
  }
  std::vector<std::tuple<UnitKind, std::size_t, double>> units;
  std::vector<std::tuple<Outcome, std::string, std::size_t>> jobs;
};

// What is done with one job may not touch another, nor what comes later: every failure is tried beside a good
// job.
class Failure : public testing::Test {
 protected:
  // Runs "poison" beside a good job, then another good one; returns the poisoned job's error.
  std::optional<Error> run_beside_good_ones(FakeOptions fake) {
    Rig rig(std::move(fake), {}, &recorder);
    Collector good, bad, later;
    rig.submit(make_request("good", {1, 2}), {}, good.sink());
    rig.submit(make_request("poison", {3, 4}), {}, bad.sink());
    rig.run();
    EXPECT_FALSE(good.wait());
    for (const auto& picture : good.all<ImageReady>())
      EXPECT_EQ(picture.image.pixels,
                rig.pipeline->expected(make_request("good", {1, 2}), picture.image_index).pixels);
    EXPECT_FALSE(run_one(rig, make_request("later")));
    EXPECT_EQ(rig.queue.counts().jobs_running, 0u);
    return bad.wait();
  }
  Recorder recorder;
};

TEST_F(Failure, OfBeginningIsHandedOn) {
  FakeOptions fake;
  fake.before_begin = [](const GenerateRequest& request, std::size_t index) -> Result<void> {
    if (request.prompt == "poison" && index == 1) return fail(ErrorCode::invalid_argument, "no", "prompt");
    return {};
  };
  const auto error = run_beside_good_ones(fake);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::invalid_argument);
  EXPECT_EQ(error->field, "prompt");
  EXPECT_THAT(recorder.jobs, testing::Contains(std::tuple(Outcome::failed, "invalid_argument", 0)));
}

TEST_F(Failure, AnExceptionWhileBeginningEndsThatJob) {
  FakeOptions fake;
  fake.before_begin = [](const GenerateRequest& request, std::size_t) -> Result<void> {
    if (request.prompt == "poison") throw std::runtime_error("tokenizer");
    return {};
  };
  const auto error = run_beside_good_ones(fake);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::internal);
  EXPECT_EQ(error->message.find("tokenizer"), std::string::npos) << "the exception's text is for the log";
}

TEST_F(Failure, AnExceptionAtAnyStageEndsThatJob) {
  for (const UnitKind kind : {UnitKind::encode, UnitKind::step, UnitKind::decode}) {
    FakeOptions fake;
    fake.before_unit = [kind](const FakeUnit& unit) {
      if (unit.kind == kind && holds_poison(unit)) throw std::runtime_error("kernel");
    };
    const auto error = run_beside_good_ones(fake);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, ErrorCode::internal);
  }
}

TEST_F(Failure, WhatIsNoStandardExceptionIsCaughtToo) {
  FakeOptions fake;
  fake.before_unit = [](const FakeUnit& unit) {
    if (holds_poison(unit)) throw 7;
  };
  EXPECT_EQ(run_beside_good_ones(fake)->code, ErrorCode::internal);
}

TEST_F(Failure, LackOfMemoryIsToldApart) {
  for (const auto& lack : std::vector<std::function<void()>>{
           [] { throw std::bad_alloc(); },
           [] { throw std::runtime_error("CUDA out of memory. Tried to allocate"); },
           [] { throw std::runtime_error("DefaultCPUAllocator: not enough memory: you tried"); }}) {
    FakeOptions fake;
    fake.before_unit = [lack](const FakeUnit& unit) {
      if (unit.kind == UnitKind::step && holds_poison(unit)) lack();
    };
    const auto error = run_beside_good_ones(fake);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, ErrorCode::out_of_memory);
  }
}

TEST_F(Failure, InTheMiddleOfABatchCostsTheOthersNothing) {
  // Rows before the poisoned one have done the unit, those after it have not.
  std::size_t largest = 0, rows = 0;
  FakeOptions fake;
  fake.seconds = test::fake_costs(0.01, 0);
  fake.before_unit = [&](const FakeUnit& unit) { rows = unit.rows.size(); };
  fake.before_row = [&](const FakeRow& row) {
    if (!is_poison(row) || row.step() != 30) return;
    largest = std::max(largest, rows);
    throw std::runtime_error("row");
  };
  Rig rig(fake);
  std::vector<Collector> collectors(8);
  const auto request = [](std::size_t i) { return make_request(i == 4 ? "poison" : "good", {i}, 64, 40); };
  for (std::size_t i = 0; i < 8; ++i)
    rig.submit(request(i), {.user = {}, .step_events = true}, collectors[i].sink());
  rig.run();
  EXPECT_EQ(largest, 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(collectors[i].wait().has_value(), i == 4);
    if (i == 4) continue;
    EXPECT_EQ(collectors[i].all<StepDone>().size(), 40u);
    EXPECT_EQ(collectors[i].all<ImageReady>().front().image.pixels,
              rig.pipeline->expected(request(i), 0).pixels);
  }
}

TEST_F(Failure, ToGiveThePictureEndsThatJob) {
  FakeOptions fake;
  fake.before_take = [](const FakeRow& row) -> Result<void> {
    if (is_poison(row) && row.image_index == 1) return fail(ErrorCode::data_loss, "gone");
    return {};
  };
  EXPECT_EQ(run_beside_good_ones(fake)->code, ErrorCode::data_loss);
  fake.before_take = [](const FakeRow& row) -> Result<void> {
    if (is_poison(row)) throw std::bad_alloc();
    return {};
  };
  EXPECT_EQ(run_beside_good_ones(fake)->code, ErrorCode::out_of_memory);
}

TEST_F(Failure, OfAPreviewIsDoneWithout) {
  FakeOptions fake;
  fake.before_preview = [](const FakeRow& row) -> Result<void> {
    if (row.step() == 1) throw std::runtime_error("preview");
    return fail(ErrorCode::unavailable, "no");
  };
  Rig rig(fake);
  Collector collector;
  rig.submit(make_request("a"), {.user = {}, .previews = 3}, collector.sink());
  rig.run();
  EXPECT_FALSE(collector.wait());
  EXPECT_TRUE(collector.all<PreviewReady>().empty());
}

TEST_F(Failure, ABatchTooLargeForMemoryIsRunInSmallerOnes) {
  std::size_t largest = 0;
  FakeOptions fake;
  fake.seconds = test::fake_costs(0.01, 0);  // rows are free, so the batch grows
  fake.before_unit = [&](const FakeUnit& unit) {
    if (unit.rows.size() > 4) throw std::bad_alloc();
    largest = std::max(largest, unit.rows.size());
  };
  Rig rig(fake, {}, &recorder);
  std::vector<Collector> collectors(16);
  for (Collector& collector : collectors) rig.submit(make_request("a", {1}, 64, 40), {}, collector.sink());
  rig.run();
  for (const Collector& collector : collectors) EXPECT_FALSE(collector.wait());
  EXPECT_EQ(largest, 4u);
  const auto too_large = std::count_if(recorder.units.begin(), recorder.units.end(),
                                       [](const auto& unit) { return std::get<1>(unit) > 4; });
  EXPECT_EQ(too_large, 1) << "tried once";
}

// Cancelling.

class Cancel : public testing::TestWithParam<std::pair<UnitKind, int>> {};

TEST_P(Cancel, TakesEffectWithinOneUnitAtEveryStageAndFreesTheSlot) {
  const auto [kind, step] = GetParam();
  std::shared_ptr<std::atomic<bool>> cancelled;
  int units_of_it_after = 0;
  FakeOptions fake;
  fake.before_unit = [&, kind = kind, step = step](const FakeUnit& unit) {
    if (!holds_poison(unit)) return;
    if (*cancelled) ++units_of_it_after;
    if (unit.kind == kind && unit.rows.front()->step() == step) *cancelled = true;  // while the unit runs
  };
  EngineOptions options;
  options.rows_active_max = 1;
  Recorder recorder;
  Rig rig(fake, options, &recorder);
  Collector it, next;
  cancelled = rig.submit(make_request("poison"), {}, it.sink()).cancelled;
  rig.submit(make_request("next"), {}, next.sink());
  while (!*cancelled) ASSERT_TRUE(rig.loop.turn());
  ASSERT_TRUE(rig.loop.turn());
  const bool too_late = kind == UnitKind::decode;  // the unit that was running made the picture
  EXPECT_EQ(it.ended(), true);
  EXPECT_EQ(it.wait().has_value(), !too_late);
  EXPECT_EQ(units_of_it_after, 0);
  EXPECT_EQ(rig.pipeline->live_rows(), 1) << "the next one has the slot";
  if (!too_late) {
    EXPECT_EQ(it.wait()->code, ErrorCode::cancelled);
    EXPECT_THAT(recorder.jobs, testing::ElementsAre(std::tuple(Outcome::cancelled, "cancelled", 0)));
  }
  rig.run();
  EXPECT_FALSE(next.wait());
}

INSTANTIATE_TEST_SUITE_P(Stages, Cancel,
                         testing::Values(std::pair(UnitKind::encode, 0), std::pair(UnitKind::step, 0),
                                         std::pair(UnitKind::step, 2), std::pair(UnitKind::step, 3),
                                         std::pair(UnitKind::decode, 4)));

TEST(DeviceLoop, ACancelledJobThatWaitsIsNeverBegun) {
  int begun = 0;
  FakeOptions fake;
  fake.before_begin = [&](const GenerateRequest&, std::size_t) {
    ++begun;
    return Result<void>();
  };
  Rig rig(fake);
  Collector collector;
  *rig.submit(make_request("a"), {}, collector.sink()).cancelled = true;
  rig.run();
  EXPECT_EQ(collector.wait()->code, ErrorCode::cancelled);
  EXPECT_EQ(begun, 0);
}

TEST(DeviceLoop, CancellingOneMemberOfABatchLeavesTheOthers) {
  FakeOptions fake;
  fake.seconds = test::fake_costs(0.01, 0);
  Rig rig(fake);
  std::vector<Collector> collectors(4);
  std::vector<std::shared_ptr<std::atomic<bool>>> cancelled;
  for (std::size_t i = 0; i < 4; ++i)
    cancelled.push_back(rig.submit(make_request("p", {i}, 64, 20), {}, collectors[i].sink()).cancelled);
  for (int i = 0; i < 20; ++i) rig.loop.turn();
  *cancelled[1] = true;
  rig.run();
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(collectors[i].wait().has_value(), i == 1);
    if (i == 1) continue;
    EXPECT_EQ(collectors[i].all<ImageReady>().front().image.pixels,
              rig.pipeline->expected(make_request("p", {i}, 64, 20), 0).pixels);
  }
}

TEST(DeviceLoop, FinishesTheFirstPicturesOfAJobEarlyAndTheOthersInFull) {
  Rig rig;
  Collector collector;
  const auto request = make_request("p", {1, 2, 3}, 64, 20);
  const auto job = rig.submit(request, {}, collector.sink());
  for (int i = 0; i < 20; ++i) rig.loop.turn();
  *job.finish_below = 2;
  rig.run();
  EXPECT_FALSE(collector.wait());
  const auto pictures = collector.all<ImageReady>();
  ASSERT_EQ(pictures.size(), 3u);
  for (const ImageReady& picture : pictures)
    EXPECT_EQ(picture.image.pixels == rig.pipeline->expected(request, picture.image_index).pixels,
              picture.image_index == 2);
  EXPECT_EQ(pictures.back().image_index, 2u);
}

TEST(DeviceLoop, LeavesOutPicturesOfWhichThereIsNothingYet) {
  engine::EngineOptions options;
  options.rows_active_max = 2;
  Rig rig({}, options);
  Collector collector, behind;
  const auto job = rig.submit(make_request("p", {1, 2, 3}, 64, 20), {}, collector.sink());
  rig.submit(make_request("q"), {}, behind.sink());
  for (int i = 0; i < 10; ++i) rig.loop.turn();
  *job.finish_below = std::size_t(-1);
  rig.run();
  EXPECT_FALSE(collector.wait());  // done, and not failed
  EXPECT_EQ(collector.all<ImageReady>().size(), 1u);
  EXPECT_EQ(behind.all<ImageReady>().size(), 1u);

  Collector waiting;
  *rig.submit(make_request("r"), {}, waiting.sink()).finish_below = 1;
  rig.run();
  EXPECT_FALSE(waiting.wait());
  EXPECT_TRUE(waiting.all<ImageReady>().empty());
}

TEST(DeviceLoop, RowsThatShareNoUnitTakeTurns) {
  std::size_t largest = 0;
  FakeOptions fake;
  fake.alone = true;
  fake.seconds = test::fake_costs(0.01, 0);  // sharing would cost nothing
  fake.before_unit = [&](const FakeUnit& unit) { largest = std::max(largest, unit.rows.size()); };
  Rig rig(fake);
  std::vector<Collector> collectors(4);
  for (std::size_t i = 0; i < 4; ++i)
    rig.submit(make_request("fox", {i}, 64, 40), {.user = {}}, collectors[i].sink());
  rig.run();
  EXPECT_EQ(largest, 1u);
  for (Collector& collector : collectors) EXPECT_FALSE(collector.wait());
}

TEST(DeviceLoop, ADeadlineEndsAJobInMidst) {
  Rig rig;  // a unit takes 0.2 ms to 1 ms
  Collector collector;
  rig.submit(make_request("a", {1}, 256, 100),
             {.user = {}, .deadline = rig.clock.now() + std::chrono::milliseconds(105)}, collector.sink());
  rig.run();
  EXPECT_EQ(collector.wait()->code, ErrorCode::deadline);
  EXPECT_LE(rig.clock.seconds(), 0.105 + 0.01);
}

// Events.

TEST(DeviceLoop, TellsStepsPreviewsAndPicturesInOrder) {
  Rig rig;
  Collector collector;
  rig.submit(make_request("a", {7}, 64, 4), {.user = {}, .previews = 1, .step_events = true},
             collector.sink());
  rig.run();
  std::string order;
  for (const Event& event : collector.events()) order += "spijf"[event.index()];
  EXPECT_EQ(order, "sspssij");
  const auto steps = collector.all<StepDone>();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].step, static_cast<int>(i + 1));
    EXPECT_EQ(steps[i].steps, 4);
  }
  EXPECT_EQ(collector.all<PreviewReady>().front().step, 2);
  EXPECT_EQ(collector.all<ImageReady>().front().seed, 7u);
}

TEST(DeviceLoop, TellsNothingThatWasNotAskedFor) {
  Rig rig;
  Collector collector;
  rig.submit(make_request("a"), {}, collector.sink());
  rig.run();
  EXPECT_EQ(collector.events().size(), 2u);
}

TEST(DeviceLoop, TheLastEventCarriesTheTimings) {
  Rig rig;
  Collector collector;
  rig.submit(make_request("a", {1, 2}, 256, 10), {}, collector.sink());
  rig.clock.advance(3);
  rig.run();
  const Timings timings = collector.all<JobDone>().front().timings;
  EXPECT_NEAR(timings.queue_seconds, 3, 1e-6);
  EXPECT_NEAR(timings.encode_seconds, 2 * 0.002, 1e-6);
  EXPECT_GT(timings.denoise_seconds, 0.1);
  EXPECT_GT(timings.decode_seconds, 0.015);
  EXPECT_NEAR(
      timings.total_seconds,
      timings.queue_seconds + timings.encode_seconds + timings.denoise_seconds + timings.decode_seconds,
      1e-6);
}

TEST(DeviceLoop, ReportsEveryUnitAndJob) {
  Recorder recorder;
  Rig rig({}, {}, &recorder);
  run_one(rig, make_request("a", {1, 2}, 64, 4));
  std::size_t steps = 0;
  for (const auto& [kind, rows, seconds] : recorder.units) steps += kind == UnitKind::step ? rows : 0;
  EXPECT_EQ(steps, 8u);
  EXPECT_THAT(recorder.jobs, testing::ElementsAre(std::tuple(Outcome::succeeded, "", 2)));
}

TEST(DeviceLoop, TheWorkAtHandShrinksAsItIsDone) {
  Rig rig;
  Collector collector;
  rig.submit(make_request("a", {1}, 256, 10), {}, collector.sink());
  double before = rig.queue.counts().queued_seconds;
  for (int i = 0; i < 3; ++i) {
    rig.loop.turn();
    rig.queue.set_seconds_per_flop(0, 1e-9);
    const double now = rig.queue.counts().queued_seconds;
    EXPECT_TRUE(i == 0 || now < before);
    before = now;
  }
}

TEST(DeviceLoop, TheWorkAtHandIsEstimatedAtTheMeasuredRate) {
  FakeOptions fake;
  fake.seconds = test::fake_costs(2);  // far slower than the engine takes a machine to be
  Rig rig(fake);
  Collector collector;
  rig.submit(make_request("a", {1}, 256, 20), {}, collector.sink());
  for (int i = 0; i < 10; ++i) rig.loop.turn();
  const double remaining = rig.queue.counts().queued_seconds, now = rig.clock.seconds();
  rig.run();
  EXPECT_NEAR(remaining, rig.clock.seconds() - now, 0.1 * remaining);
}

TEST(DeviceLoop, PulseTellsARunningUnitAndOneThatHangs) {
  Pulse within, later;
  Rig* running = nullptr;
  FakeOptions fake;
  fake.before_unit = [&](const FakeUnit& unit) {
    if (unit.kind != UnitKind::decode) return;
    within = running->loop.pulse();
    running->clock.advance(31);
    later = running->loop.pulse();
  };
  Rig rig(fake);
  running = &rig;
  run_one(rig, make_request("a"));
  EXPECT_TRUE(within.unit_running);
  EXPECT_FALSE(within.unit_overdue);
  EXPECT_TRUE(later.unit_overdue);
  rig.clock.advance(100);
  EXPECT_FALSE(rig.loop.pulse().unit_running);
  EXPECT_FALSE(rig.loop.pulse().unit_overdue);
  EXPECT_NEAR(rig.loop.pulse().seconds_since_unit, 100, 1e-6);
}

TEST(DeviceLoop, StepsThatAreSkippedAreWorkThatIsDone) {
  Rig* running = nullptr;
  std::vector<double> done;
  FakeOptions fake;
  fake.before_unit = [&](const FakeUnit& unit) {
    if (unit.kind == UnitKind::decode)
      done.push_back(running->queue.work(running->clock.now()).front().share_done);
  };
  Rig rig(fake);
  running = &rig;
  Collector collector;
  GenerateRequest request = make_request("a", {1}, 64, 8);
  request.cache = StepCache{kEasyCache};
  SubmitOptions options;
  options.step_events = true;
  options.previews = 3;
  rig.submit(request, options, collector.sink());
  rig.run();
  EXPECT_FALSE(collector.wait());
  std::vector<int> steps;
  for (const StepDone& event : collector.all<StepDone>()) steps.push_back(event.step);
  EXPECT_THAT(steps, testing::ElementsAre(2, 4, 6, 7, 8));
  EXPECT_EQ(collector.all<PreviewReady>().size(), 3u);
  EXPECT_EQ(collector.all<ImageReady>().front().steps_skipped, 3);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_NEAR(done.front(), (0.2 + 8) / (0.2 + 8 + 1.5), 1e-9);
}

TEST(PreviewDue, SpreadsPreviewsEvenlyAndNeverOverTheLastStep) {
  const auto due = [](int steps, int previews) {
    std::vector<int> found;
    for (int step = 1; step <= steps; ++step)
      if (preview_due(step - 1, step, steps, previews)) found.push_back(step);
    return found;
  };
  EXPECT_THAT(due(28, 3), testing::ElementsAre(7, 14, 21));
  EXPECT_THAT(due(28, 0), testing::IsEmpty());
  EXPECT_THAT(due(4, 3), testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(due(2, 3), testing::ElementsAre(1));
  EXPECT_THAT(due(1, 3), testing::IsEmpty());
  EXPECT_EQ(due(50, 7).size(), 7u);
  EXPECT_TRUE(preview_due(5, 9, 28, 3));  // 7 lies between
  EXPECT_FALSE(preview_due(7, 13, 28, 3));
}

}  // namespace
}  // namespace diffused::engine
