#include "engine/local_dispatcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <random>
#include <thread>

#include "engine/collector.h"
#include "engine/rig.h"
#include "support/fake_clock.h"
#include "support/fake_pipeline.h"

namespace diffused::engine {
namespace {

using std::chrono::milliseconds;
using test::Collector;
using test::FakeClock;
using test::FakeOptions;
using test::FakePipeline;
using test::FakeRow;
using test::FakeUnit;
using test::make_request;

// Counts from any thread.
struct Counter : EngineObserver {
  void job_finished(std::string_view, Outcome, std::string_view, const Timings&, std::size_t) override {
    ++finished;
  }
  void rejected(std::string_view, std::string_view reason) override {
    ++refused;
    EXPECT_TRUE(reason == "queue_full" || reason == "draining" || reason == "request_too_costly") << reason;
  }
  std::atomic<int> finished = 0, refused = 0;
};

// A device that stops before every unit until the test lets it go on.
class Gate {
 public:
  // For FakeOptions::before_unit.
  void stop() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Until the device has come to a unit.
  void await_unit() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class LocalDispatcherTest : public testing::Test {
 protected:
  void start(FakeOptions fake = {}, const EngineOptions& options = {}) {
    pipeline = std::make_shared<FakePipeline>(std::move(fake));
    dispatcher.emplace(std::vector<LocalModel>{{"fake", {"alias"}, 5, pipeline}}, options, clock, counter);
  }
  void start_behind_gate(const EngineOptions& options = {}) {
    FakeOptions fake;
    fake.before_unit = [this](const FakeUnit&) { gate.stop(); };
    start(std::move(fake), options);
  }

  FakeClock clock;
  Counter counter;
  Gate gate;
  std::shared_ptr<FakePipeline> pipeline;
  std::optional<LocalDispatcher> dispatcher;
};

TEST_F(LocalDispatcherTest, MakesThePicturesOfARequest) {
  start();
  Collector collector;
  const auto ticket = dispatcher->submit(make_request("a", {3, 4}), {}, collector.sink());
  ASSERT_TRUE(ticket);
  EXPECT_TRUE(ticket->id().starts_with("job_"));
  EXPECT_FALSE(collector.wait());
  const auto pictures = collector.all<ImageReady>();
  ASSERT_EQ(pictures.size(), 2u);
  for (const auto& picture : pictures) {
    EXPECT_EQ(picture.seed, picture.image_index + 3);
    EXPECT_EQ(picture.image.pixels,
              pipeline->expected(make_request("a", {3, 4}), picture.image_index).pixels);
  }
}

TEST_F(LocalDispatcherTest, ServesModelsByNameAndAlias) {
  start();
  const auto models = dispatcher->models();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models.front().name, "fake");
  EXPECT_EQ(models.front().created, 5);
  EXPECT_EQ(models.front().info.class_name, "FakePipeline");
  for (const char* name : {"fake", "alias"}) {
    GenerateRequest request = make_request("a");
    request.model = name;
    Collector collector;
    const auto ticket = dispatcher->submit(request, {}, collector.sink());
    EXPECT_TRUE(ticket) << name;
    EXPECT_FALSE(collector.wait());
  }
}

TEST_F(LocalDispatcherTest, ModelsShareOneDeviceThread) {
  auto first = std::make_shared<FakePipeline>(), second = std::make_shared<FakePipeline>();
  LocalDispatcher both({{"one", {}, 0, first}, {"two", {}, 0, second}}, {}, clock, counter);
  std::thread::id threads[2];
  for (const int i : {0, 1}) {
    std::promise<void> done;
    GenerateRequest request = make_request("a");
    request.model = i == 0 ? "one" : "two";
    const auto ticket = both.submit(request, {}, [&](const Event& event) {
      threads[i] = std::this_thread::get_id();
      if (std::holds_alternative<JobDone>(event)) done.set_value();
    });
    done.get_future().wait();
  }
  EXPECT_EQ(threads[0], threads[1]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
  EXPECT_EQ(both.health().queue.by_model.size(), 2u);
  EXPECT_EQ(both.pipeline_stats().size(), 2u);
}

TEST_F(LocalDispatcherTest, PreparesTheDeviceThreadFirst) {
  std::promise<std::thread::id> prepared;
  EngineOptions options;
  options.prepare_device_thread = [&] { prepared.set_value(std::this_thread::get_id()); };
  start({}, options);
  EXPECT_NE(prepared.get_future().get(), std::this_thread::get_id());
}

TEST_F(LocalDispatcherTest, RefusesAtTheDoorWithoutAnEvent) {
  start();
  Collector collector;
  GenerateRequest unknown = make_request("a");
  unknown.model = "other";
  const auto not_found = dispatcher->submit(unknown, {}, collector.sink());
  ASSERT_FALSE(not_found);
  EXPECT_EQ(not_found.error().code, ErrorCode::not_found);
  EXPECT_EQ(not_found.error().field, "model");
  const auto invalid = dispatcher->submit(make_request("a", {}), {}, collector.sink());
  ASSERT_FALSE(invalid);
  EXPECT_EQ(invalid.error().field, "n");
  dispatcher->stop_now();
  EXPECT_TRUE(collector.events().empty());
}

// 1.5 MFLOP a pixel: 64x64 takes 6 ms at a time here, 1024x1024 1.6 s.
TEST_F(LocalDispatcherTest, RefusesWhatWouldHoldTheDeviceForLong) {
  EngineOptions options;
  options.unit_max = std::chrono::duration<double>(1.0);
  options.initial_flops_per_second = 1e12;
  start({}, options);
  Collector collector;
  const auto refused = dispatcher->submit(make_request("a", {1}, 1024), {}, collector.sink());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(refused.error().reason, "request_too_costly");
  EXPECT_EQ(refused.error().field, "width");
  EXPECT_THAT(refused.error().message, testing::HasSubstr("1024x1024"));
  EXPECT_THAT(refused.error().message, testing::HasSubstr("1.6 seconds"));
  EXPECT_THAT(refused.error().message, testing::HasSubstr("the 1.0 that"));
  EXPECT_FALSE(dispatcher->resolve(make_request("a", {1}, 1024)));
  EXPECT_TRUE(dispatcher->resolve(make_request("a", {1}, 64)));
  const auto taken = dispatcher->submit(make_request("a", {1}, 512), {}, collector.sink());
  ASSERT_TRUE(taken);
  EXPECT_FALSE(collector.wait());
}

// Whatever the device: who serves a model means its own size.
TEST_F(LocalDispatcherTest, MakesTheModelsOwnSizeHoweverSlow) {
  EngineOptions options;
  options.unit_max = std::chrono::duration<double>(1e-6);
  start({}, options);
  Collector collector;
  const auto own = dispatcher->submit(make_request("a", {1}, 64), {}, collector.sink());
  ASSERT_TRUE(own);
  EXPECT_FALSE(collector.wait());
  EXPECT_FALSE(dispatcher->submit(make_request("a", {1}, 72), {}, collector.sink()));
}

TEST_F(LocalDispatcherTest, AFullQueueAnswersWhileTheDeviceIsBusy) {
  start_behind_gate({.jobs_waiting_max = 2, .rows_active_max = 1});
  std::vector<Ticket> tickets;
  std::vector<Collector> collectors(4);
  tickets.push_back(*dispatcher->submit(make_request("a"), {}, collectors[0].sink()));
  gate.await_unit();
  for (const int i : {1, 2})
    tickets.push_back(*dispatcher->submit(make_request("a"), {}, collectors[i].sink()));
  const auto refused = dispatcher->submit(make_request("a"), {}, collectors[3].sink());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "queue_full");
  EXPECT_TRUE(refused.error().retry_after);
  EXPECT_EQ(tickets[2].position(), 1u);
  EXPECT_EQ(counter.refused, 1);
  gate.open();
  for (const int i : {0, 1, 2}) EXPECT_FALSE(collectors[i].wait());
}

TEST_F(LocalDispatcherTest, LettingGoOfTheTicketCancels) {
  start_behind_gate();
  Collector collector;
  { const auto ticket = dispatcher->submit(make_request("a"), {}, collector.sink()); }
  gate.open();
  EXPECT_EQ(collector.wait()->code, ErrorCode::cancelled);
}

TEST_F(LocalDispatcherTest, ATicketMayOutliveTheDispatcher) {
  start();
  Collector collector;
  auto ticket = dispatcher->submit(make_request("a"), {}, collector.sink());
  ASSERT_TRUE(ticket);
  dispatcher.reset();
  EXPECT_TRUE(collector.ended());
  ticket->cancel();
}

TEST_F(LocalDispatcherTest, DrainFinishesWhatRunsAndSendsHomeWhatWaits) {
  start_behind_gate({.rows_active_max = 1});
  Collector running, waiting;
  const auto first = dispatcher->submit(make_request("a"), {}, running.sink());
  gate.await_unit();
  const auto second = dispatcher->submit(make_request("a"), {}, waiting.sink());
  dispatcher->close(std::chrono::hours(1));
  const auto refused = dispatcher->submit(make_request("a"), {}, Collector().sink());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(refused.error().retry_after, std::chrono::seconds(10));
  EXPECT_FALSE(dispatcher->health().queue.open);
  gate.open();
  dispatcher->drain(std::chrono::hours(1));
  EXPECT_FALSE(running.wait());
  ASSERT_TRUE(waiting.wait());
  EXPECT_EQ(waiting.wait()->code, ErrorCode::unavailable);
  EXPECT_EQ(waiting.wait()->retry_after, std::chrono::seconds(10));
  dispatcher->drain(milliseconds(0));  // again: harmless
}

TEST_F(LocalDispatcherTest, DrainCancelsWhatIsNotDoneInTime) {
  FakeOptions fake;
  std::promise<void> begun;
  bool first = true;
  fake.before_unit = [&](const FakeUnit&) {
    if (std::exchange(first, false)) begun.set_value();
    clock.advance(1);
  };
  start(std::move(fake));
  Collector collector;
  const auto ticket = dispatcher->submit(make_request("a", {1}, 64, 1'000'000), {}, collector.sink());
  begun.get_future().wait();
  dispatcher->drain(std::chrono::seconds(20));
  EXPECT_EQ(collector.wait()->code, ErrorCode::cancelled);
  EXPECT_EQ(collector.wait()->reason, "shutdown");
  EXPECT_EQ(pipeline->live_rows(), 0);
}

TEST_F(LocalDispatcherTest, StopsNowAfterThePresentUnit) {
  start_behind_gate();
  Collector collector;
  const auto ticket = dispatcher->submit(make_request("a", {1, 2}), {}, collector.sink());
  gate.await_unit();
  dispatcher->close(milliseconds(0));
  gate.open();
  dispatcher->stop_now();
  EXPECT_EQ(collector.wait()->reason, "shutdown");
}

TEST_F(LocalDispatcherTest, WaitsForTheEndOnlySoLong) {
  start_behind_gate();
  Collector collector;
  const auto ticket = dispatcher->submit(make_request("a"), {}, collector.sink());
  gate.await_unit();
  dispatcher->close(milliseconds(0));
  EXPECT_FALSE(dispatcher->wait_for_end(milliseconds(10)));
  gate.open();
  EXPECT_TRUE(dispatcher->wait_for_end(std::chrono::hours(1)));
  EXPECT_EQ(collector.wait()->reason, "shutdown");
}

TEST_F(LocalDispatcherTest, HealthAnswersWhileTheDeviceHangs) {
  start_behind_gate();
  Collector collector;
  const auto ticket = dispatcher->submit(make_request("a"), {}, collector.sink());
  gate.await_unit();
  EXPECT_TRUE(dispatcher->health().device.unit_running);
  EXPECT_FALSE(dispatcher->health().device.unit_overdue);
  clock.advance(3600);
  EXPECT_TRUE(dispatcher->health().device.unit_overdue);
  EXPECT_EQ(dispatcher->health().queue.jobs_running, 1u);
  gate.open();
  EXPECT_FALSE(collector.wait());
}

TEST_F(LocalDispatcherTest, ASinkMaySubmitTheNextJob) {
  start();
  std::promise<void> done;
  std::optional<Ticket> next;
  const auto ticket = dispatcher->submit(make_request("a"), {}, [&](const Event& event) {
    if (!std::holds_alternative<JobDone>(event)) return;
    next = *dispatcher->submit(make_request("b"), {}, [&](const Event& later) {
      if (std::holds_alternative<JobDone>(later)) done.set_value();
    });
  });
  done.get_future().wait();
}

// Everything at once: many submitters, cancels in any order, failures, previews, health, then a drain in the
// midst.
TEST_F(LocalDispatcherTest, ManyThreadsAtOnceGetOneReplyEachAndTheRightPictures) {
  FakeOptions fake;
  fake.pass = [this](double seconds) { clock.advance(seconds); };
  fake.before_row = [](const FakeRow& row) {
    if (row.request.prompt == "poison" && row.step() == 1) throw std::bad_alloc();
  };
  start(std::move(fake), {.jobs_waiting_max = 40, .rows_active_max = 12});
  constexpr int kThreads = 8, kJobs = 60;
  std::atomic<int> accepted = 0, refused = 0;
  std::latch underway(kThreads);
  std::vector<std::thread> submitters;
  for (int t = 0; t < kThreads; ++t) {
    submitters.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      const auto number = [&](int low, int high) {
        return std::uniform_int_distribution<>(low, high)(random);
      };
      std::vector<std::tuple<GenerateRequest, Collector, Ticket>> jobs;
      for (int i = 0; i < kJobs; ++i) {
        std::vector<std::uint64_t> seeds(static_cast<std::size_t>(number(1, 3)), random());
        GenerateRequest request =
            make_request(number(1, 20) == 1 ? "poison" : "good", seeds, 8 * number(1, 3), number(1, 6));
        Collector collector;
        SubmitOptions options{.user = std::to_string(t % 3), .previews = number(0, 2), .step_events = true};
        auto ticket = dispatcher->submit(request, options, collector.sink());
        ++(ticket ? accepted : refused);
        if (i == kJobs / 2) underway.count_down();
        if (ticket) jobs.emplace_back(request, collector, std::move(*ticket));
        if (number(1, 6) == 1 && !jobs.empty()) std::get<2>(jobs[random() % jobs.size()]).cancel();
        if (number(1, 3) == 1 && !jobs.empty()) std::get<1>(jobs.back()).wait();
        dispatcher->health();
      }
      for (auto& [request, collector, ticket] : jobs) {
        if (collector.wait()) continue;
        for (const auto& picture : collector.all<ImageReady>())
          EXPECT_EQ(picture.image.pixels, pipeline->expected(request, picture.image_index).pixels);
      }
    });
  }
  underway.wait();
  dispatcher->drain(milliseconds(50));
  for (std::thread& submitter : submitters) submitter.join();
  EXPECT_EQ(counter.finished, accepted);
  EXPECT_EQ(counter.refused, refused);
  EXPECT_EQ(pipeline->live_rows(), 0);
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace diffused::engine
