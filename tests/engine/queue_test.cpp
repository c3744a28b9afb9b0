#include "engine/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/fake_clock.h"
#include "support/fake_pipeline.h"

namespace diffused::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Wanted {
  std::string user = "a";
  double seconds = 1;  // at one FLOP a second
  std::size_t n = 1;
  int side = 64;
  std::size_t model = 0;
};

class QueueTest : public testing::Test {
 protected:
  ~QueueTest() override {
    if (!queue) return;
    queue->close(clock.now());
    end(queue->take(clock.now()));
  }

  void open(EngineOptions options) {
    options.initial_flops_per_second = 1;
    queue.emplace(options, 2);
  }
  Result<Place> push(const Wanted& wanted) {
    JobTicket made;
    made.request.seeds.resize(wanted.n);
    made.request.width = made.request.height = wanted.side;
    made.model = wanted.model;
    made.options.user = wanted.user;
    made.options.deadline = deadline;
    made.sink = [](const Event&) {};
    made.cost_flops = wanted.seconds;
    made.cancelled = cancelled = std::make_shared<std::atomic<bool>>(false);
    return queue->push(std::move(made), clock.now());
  }
  // Takes, and answers those that are to end. Returns the users of the rows begun.
  std::vector<std::string> take() {
    Intake intake = queue->take(clock.now());
    std::vector<std::string> users;
    for (const auto& start : intake.starts) {
      users.push_back(start.job->ticket.options.user);
      started.push_back(start.job);
    }
    end(std::move(intake));
    return users;
  }
  void end(Intake intake) {
    for (auto& [job, error] : intake.ended) {
      errors.push_back(error);
      job->fail(error, observer);
    }
  }
  void finish(const std::shared_ptr<LiveJob>& job) {
    queue->remove(*job);
    job->fail({ErrorCode::internal, "done", {}, {}}, observer);
  }

  test::FakeClock clock;
  EngineObserver observer;
  std::optional<Queue> queue;
  SteadyTime deadline = SteadyTime::max();
  std::shared_ptr<std::atomic<bool>> cancelled;  // of the job pushed last
  std::vector<std::shared_ptr<LiveJob>> started;
  std::vector<Error> errors;
};

TEST_F(QueueTest, ALoneUserMayFillIt) {
  open({.jobs_waiting_max = 256});
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(push({.seconds = 0.1})) << i;
  const auto refused = push({.seconds = 0.1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::overloaded);
  EXPECT_EQ(refused.error().reason, "queue_full");
  EXPECT_EQ(queue->counts().jobs_waiting, 256u);
}

TEST_F(QueueTest, IsBoundedByEstimatedWork) {
  open({.work_queued_max = seconds(600)});
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(push({.seconds = 100}));
  const auto refused = push({.seconds = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "queue_full");
}

TEST_F(QueueTest, TakesAJobLongerThanTheBoundWhenNothingElseIsThere) {
  open({.work_queued_max = seconds(600)});
  EXPECT_TRUE(push({.seconds = 10'000}));
  EXPECT_FALSE(push({.seconds = 1}));
}

TEST_F(QueueTest, RunningWorkCountsUntilItIsDone) {
  open({.work_queued_max = seconds(600)});
  ASSERT_TRUE(push({.seconds = 700}));
  take();
  EXPECT_FALSE(push({.seconds = 1}));
  started.front()->work_done(200);
  EXPECT_TRUE(push({.seconds = 1}));
}

TEST_F(QueueTest, RetryAfterIsTheTimeTheWorkInFrontTakes) {
  open({.work_queued_max = seconds(600)});
  ASSERT_TRUE(push({.seconds = 620}));
  EXPECT_EQ(push({}).error().retry_after, seconds(20));
  queue->set_seconds_per_flop(0, 0.97);  // measured: faster than thought
  EXPECT_EQ(push({}).error().retry_after, milliseconds(1400));
}

TEST_F(QueueTest, RetryAfterOfAQueueFullOfJobsIsTheTimeOfOne) {
  open({.jobs_waiting_max = 10});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(push({.seconds = 7}));
  EXPECT_EQ(push({}).error().retry_after, seconds(7));
}

TEST_F(QueueTest, RetryAfterIsOneToSixtySeconds) {
  open({.jobs_waiting_max = 1, .work_queued_max = seconds(600)});
  ASSERT_TRUE(push({.seconds = 0.001}));
  EXPECT_EQ(push({}).error().retry_after, seconds(1));
  take();
  ASSERT_TRUE(push({.seconds = 10'000}));
  EXPECT_EQ(push({}).error().retry_after, seconds(60));
}

TEST_F(QueueTest, SeveralUsersAreEachHeldToTheirPart) {
  open({.jobs_waiting_max = 12});
  ASSERT_TRUE(push({.user = "b"}));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(push({.user = "a"}));
  EXPECT_FALSE(push({.user = "a"}));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(push({.user = "b"}));
}

TEST_F(QueueTest, SeveralUsersShareTheEstimatedWork) {
  open({.work_queued_max = seconds(600)});
  ASSERT_TRUE(push({.user = "a", .seconds = 350}));
  ASSERT_TRUE(push({.user = "b", .seconds = 10}));
  const auto refused = push({.user = "a"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().retry_after, seconds(60))
      << "50 s of a's own at half the speed, but no more than 60";
  EXPECT_TRUE(push({.user = "b"}));
}

TEST_F(QueueTest, AUserTurnedAwayIsGivenWay) {
  open({.jobs_waiting_max = 4});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(push({.user = "a"}));
  ASSERT_FALSE(push({.user = "b"}));
  take();  // all four are begun: a second filling
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(push({.user = "a"}));
  EXPECT_FALSE(push({.user = "a"})) << "the rest is for b";
  EXPECT_TRUE(push({.user = "b"}));
}

TEST_F(QueueTest, AUserTurnedAwayIsForgottenAfterAMinute) {
  open({.jobs_waiting_max = 4});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(push({.user = "a"}));
  ASSERT_FALSE(push({.user = "b"}));
  take();
  clock.advance(61);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(push({.user = "a"}));
}

TEST_F(QueueTest, EvenManyUsersMayEachHaveOneJobWhileThereIsRoom) {
  open({.jobs_waiting_max = 4});
  for (const char* user : {"a", "b", "c", "d"}) EXPECT_TRUE(push({.user = user}));
  EXPECT_FALSE(push({.user = "e"}));
}

TEST_F(QueueTest, TellsThePlaceAndWhenItsTurnComes) {
  open({.rows_active_max = 1});
  EXPECT_EQ(push({.seconds = 8})->position, 0u);
  take();
  started.front()->work_done(2);
  const auto second = push({.seconds = 4});
  EXPECT_EQ(second->position, 0u);
  EXPECT_DOUBLE_EQ(second->estimated_start_seconds, 6) << "the running one must end";
  const auto third = push({.seconds = 4});
  EXPECT_EQ(third->position, 1u);
  EXPECT_DOUBLE_EQ(third->estimated_start_seconds, 10);
  push({.seconds = 4});
  EXPECT_EQ(push({.user = "b"})->position, 1u) << "users come in by turns";
}

TEST_F(QueueTest, AnEmptyServerStartsAtOnce) {
  open({});
  EXPECT_EQ(push({})->position, 0u);
  take();
  EXPECT_DOUBLE_EQ(push({})->estimated_start_seconds, 0);
}

TEST_F(QueueTest, UsersComeInByTurns) {
  open({.rows_active_max = 8});
  for (int i = 0; i < 4; ++i) push({.user = "a"});
  for (int i = 0; i < 2; ++i) push({.user = "b"});
  EXPECT_THAT(take(), testing::ElementsAre("a", "b", "a", "b", "a"));
}

TEST_F(QueueTest, OneFlowTakesHalfOfTheRowsSoThatAnotherFindsRoom) {
  open({.rows_active_max = 16});
  for (int i = 0; i < 40; ++i) push({.user = "a", .side = 1024});
  EXPECT_EQ(take().size(), 8u);
  for (int i = 0; i < 40; ++i) push({.user = "a", .side = 256});
  EXPECT_EQ(take().size(), 4u);
  EXPECT_TRUE(take().empty());
}

TEST_F(QueueTest, AUserWithoutARowMayAlwaysHaveOne) {
  open({.rows_active_max = 1});
  push({.user = "a"});
  push({.user = "a"});
  push({.user = "b"});
  push({.user = "c"});
  EXPECT_THAT(take(), testing::ElementsAre("a", "b", "c"));
}

TEST_F(QueueTest, PicturesOfOneJobAreARowEachAndASlotIsRefilledWhenOneEnds) {
  open({.rows_active_max = 4});
  push({.n = 5});
  EXPECT_EQ(take().size(), 2u);
  EXPECT_EQ(queue->counts().rows_active, 2u);
  queue->row_ended(*started.front());
  EXPECT_EQ(take().size(), 1u);
  EXPECT_EQ(queue->counts().jobs_running, 1u);
}

TEST_F(QueueTest, ARemovedJobFreesAllOfItsRows) {
  open({.rows_active_max = 4});
  push({.n = 2});
  push({.user = "a"});
  EXPECT_EQ(take().size(), 2u);
  finish(started.front());
  EXPECT_EQ(take().size(), 1u);
}

TEST_F(QueueTest, ACancelledJobLeavesWhereverItStands) {
  open({.rows_active_max = 1});
  push({.user = "a"});
  const auto first = cancelled;
  push({.user = "a"});
  const auto second = cancelled;
  take();
  *second = true;  // waiting
  EXPECT_TRUE(take().empty());
  *first = true;  // running
  EXPECT_TRUE(take().empty());
  ASSERT_EQ(errors.size(), 2u);
  for (const Error& error : errors) EXPECT_EQ(error.code, ErrorCode::cancelled);
  EXPECT_EQ(queue->counts().rows_active, 0u);
}

TEST_F(QueueTest, AJobWhoseTimeRanOutLeaves) {
  open({});
  deadline = clock.now() + seconds(5);
  push({});
  take();
  clock.advance(4.9);
  take();
  EXPECT_TRUE(errors.empty());
  clock.advance(0.1);
  take();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors.front().code, ErrorCode::deadline);
}

TEST_F(QueueTest, ClosedItRefusesAndSendsHomeThoseWhoWait) {
  open({.rows_active_max = 1, .drain_retry_after = seconds(10)});
  push({.user = "a", .n = 2});
  push({.user = "a"});
  take();
  queue->close(clock.now() + seconds(5));
  const auto refused = push({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(refused.error().reason, "draining");
  EXPECT_EQ(refused.error().retry_after, seconds(10));
  take();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors.front().code, ErrorCode::unavailable);
  EXPECT_EQ(errors.front().retry_after, seconds(10));
  EXPECT_FALSE(queue->counts().open);
  EXPECT_TRUE(queue->wait()) << "one is still running";

  queue->row_ended(*started.front());
  EXPECT_EQ(take().size(), 1u) << "a job that is begun gets all of its pictures";
  clock.advance(5);
  take();
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors.back().code, ErrorCode::cancelled);
  EXPECT_EQ(errors.back().reason, "shutdown");
  EXPECT_FALSE(queue->wait());
}

TEST_F(QueueTest, ALaterCloseCanOnlyShortenTheTime) {
  open({});
  push({});
  take();
  queue->close(clock.now() + seconds(5));
  queue->close(clock.now() + seconds(50));
  clock.advance(5);
  take();
  EXPECT_EQ(errors.size(), 1u);
}

TEST_F(QueueTest, CountsByModel) {
  open({});
  push({.seconds = 3});
  take();
  push({.seconds = 5, .model = 1});
  const QueueCounts counts = queue->counts();
  EXPECT_EQ(counts.jobs_running, 1u);
  EXPECT_EQ(counts.jobs_waiting, 1u);
  EXPECT_DOUBLE_EQ(counts.queued_seconds, 8);
  ASSERT_EQ(counts.by_model.size(), 2u);
  EXPECT_EQ(counts.by_model[0].jobs_running, 1u);
  EXPECT_EQ(counts.by_model[1].jobs_waiting, 1u);
  EXPECT_DOUBLE_EQ(counts.by_model[1].queued_seconds, 5);
}

}  // namespace
}  // namespace diffused::engine
