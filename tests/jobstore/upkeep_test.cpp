// What whoever runs the servers wants to know of a job store, and to be able to do.
#include <gmock/gmock.h>

#include <atomic>
#include <map>

#include "any_job_store.h"

namespace diffused::jobstore {
namespace {

using testing::ElementsAre;

TEST_P(AnyJobStore, CountsByModelAndSaysSinceWhenTheOldestWaits) {
  NewJob other = new_job("job_2", "ann", 4);
  other.pool = "other";
  ASSERT_TRUE(enqueue(new_job("job_1", "ann", 2)));
  home_->advance(30);
  ASSERT_TRUE(enqueue(other));
  const Counts counts = count();
  ASSERT_EQ(counts.by_pool.size(), 2u);
  EXPECT_EQ(counts.by_pool.at("demo").queued_cost, 2);
  EXPECT_NEAR(static_cast<double>(counts.by_pool.at("demo").oldest_queued), 30, 5);
  EXPECT_LT(counts.by_pool.at("other").oldest_queued, 5);
  EXPECT_EQ(counts.oldest_queued, counts.by_pool.at("demo").oldest_queued);
  claim_one();
  EXPECT_EQ(count().by_pool.at("demo").running, 1);
  EXPECT_EQ(count().by_pool.at("demo").queued, 0);
}

TEST_P(AnyJobStore, SaysHowOldAJobWasWhenItWasClaimedAndWhoAskedForIt) {
  NewJob job = new_job("job_1");
  job.request_id = "req_7";
  job.trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  ASSERT_TRUE(enqueue(job));
  home_->advance(9);
  const auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_GE(claimed[0].age, std::chrono::milliseconds(9000));
  EXPECT_LT(claimed[0].age, std::chrono::milliseconds(14'000));
  EXPECT_EQ(claimed[0].request_id, "req_7");
  EXPECT_EQ(claimed[0].trace, job.trace);
  EXPECT_EQ(claimed[0].worker, "this");
}

TEST_P(AnyJobStore, NamesTheOneWhoFellSilentUnderAJob) {
  NewJob job = new_job("job_1");
  job.request_id = "req_7";
  ASSERT_TRUE(enqueue(job));
  for (const JobState state : {JobState::queued, JobState::failed}) {
    claim_one();
    home_->advance(11);
    ASSERT_EQ(reap(), 1u);
    EXPECT_EQ(reaped_[0].id, "job_1");
    EXPECT_EQ(reaped_[0].state, state);
    EXPECT_EQ(reaped_[0].worker, "this");
    EXPECT_EQ(reaped_[0].request_id, "req_7");
  }
}

TEST_P(AnyJobStore, GivesUpJobsThatWaitedForTooLong) {
  StoreOptions impatient = options();
  impatient.queued_lifetime = std::chrono::seconds(50);
  store_.reset();
  store_ = home_->open(impatient);
  ASSERT_TRUE(enqueue(new_job("job_1")));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  const Lease running = claim_one();
  home_->advance(40);
  ASSERT_TRUE(enqueue(new_job("job_3")));
  EXPECT_TRUE(give_up().empty());
  home_->advance(11);
  const auto late = give_up();
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].id, "job_2");
  EXPECT_EQ(find("job_2")->state, JobState::failed);
  EXPECT_EQ(find("job_2")->outcome, "too late");
  EXPECT_EQ(state("job_1"), JobState::running);
  EXPECT_EQ(state("job_3"), JobState::queued);
}

TEST_P(AnyJobStore, BoundsWhatWaitsForOneModel) {
  StoreOptions narrow = options();
  narrow.pool_queued_max = 2;
  store_.reset();
  store_ = home_->open(narrow);
  ASSERT_TRUE(enqueue(new_job("job_1", "ann")));
  ASSERT_TRUE(enqueue(new_job("job_2", "bob")));
  const auto refused = enqueue(new_job("job_3", "cid"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "queue_full");
  NewJob other = new_job("job_4", "cid");
  other.pool = "other";
  EXPECT_TRUE(enqueue(other));
  claim_one();
  EXPECT_TRUE(enqueue(new_job("job_5", "cid")));
}

TEST_P(AnyJobStore, LetsOnlyUrgentJobsBeClaimedWhereThatIsAsked) {
  NewJob urgent = new_job("job_2");
  urgent.priority = 1000;
  ASSERT_TRUE(enqueue(new_job("job_1")));
  ASSERT_TRUE(enqueue(urgent));
  const std::vector<std::vector<std::string>> choices = {{"demo"}, {"demo", "other"}};
  for (const auto& pools : choices) {
    const auto jobs = *wait<std::vector<Job>>([&](auto reply) {
      store_->claim({.pools = pools, .jobs_max = 2, .worker = "this", .priority_min = 1000}, reply);
    });
    for (const Job& job : jobs) EXPECT_EQ(job.id, "job_2");
  }
  EXPECT_EQ(state("job_1"), JobState::queued);
  EXPECT_EQ(state("job_2"), JobState::running);
}

TEST_P(AnyJobStore, ClaimsNothingThatIsPaused) {
  const auto pause = [&](const char* pool, bool paused) {
    return *wait<bool>([&](auto reply) { store_->pause(pool, paused, reply); });
  };
  ASSERT_TRUE(enqueue(new_job("job_1")));
  for (const char* pool : {"demo", "*"}) {
    EXPECT_TRUE(pause(pool, true));
    EXPECT_FALSE(pause(pool, true));
    EXPECT_THAT(*wait<std::vector<std::string>>([&](auto reply) { store_->paused(reply); }),
                ElementsAre(pool));
    EXPECT_TRUE(claim().empty());
    EXPECT_TRUE(claim(1, {"demo", "other"}).empty());
    EXPECT_TRUE(pause(pool, false));
  }
  EXPECT_EQ(claim().size(), 1u);
}

TEST_P(AnyJobStore, QueuesAJobAgainForWhoeverRunsTheServers) {
  const auto requeue = [&](const char* id) {
    return wait<Job>([&](auto reply) { store_->requeue(id, reply); });
  };
  ASSERT_TRUE(enqueue(new_job("job_1")));
  EXPECT_EQ(requeue("job_1").error().code, ErrorCode::conflict);
  const Lease stuck = claim_one();
  EXPECT_EQ(requeue("job_1")->state, JobState::queued);
  EXPECT_FALSE(succeed(stuck));
  EXPECT_TRUE(fail(claim_one()));
  EXPECT_EQ(requeue("job_1")->attempt, 0);
  EXPECT_FALSE(find("job_1")->finished || find("job_1")->outcome);
  EXPECT_TRUE(succeed(claim_one()));
  EXPECT_EQ(requeue("job_1").error().code, ErrorCode::conflict);
  EXPECT_EQ(requeue("job_2").error().code, ErrorCode::not_found);
}

TEST_P(AnyJobStore, ListsTheJobsOfEveryStateAndOwner) {
  const auto ids = [&](JobState state) {
    std::vector<std::string> ids;
    const auto jobs = wait<std::vector<Job>>([&](auto reply) { store_->list_state(state, 20, reply); });
    for (const Job& job : *jobs) ids.push_back(job.id);
    return ids;
  };
  for (const char* id : {"job_1", "job_2", "job_3", "job_4", "job_5"}) ASSERT_TRUE(enqueue(new_job(id, id)));
  EXPECT_TRUE(succeed(claim_one()));
  EXPECT_TRUE(fail(claim_one()));
  claim_one();
  EXPECT_TRUE(cancel("job_4"));
  EXPECT_THAT(ids(JobState::succeeded), ElementsAre("job_1"));
  EXPECT_THAT(ids(JobState::failed), ElementsAre("job_2"));
  EXPECT_THAT(ids(JobState::running), ElementsAre("job_3"));
  EXPECT_THAT(ids(JobState::cancelled), ElementsAre("job_4"));
  EXPECT_THAT(ids(JobState::queued), ElementsAre("job_5"));
}

TEST_P(AnyJobStore, SaysWhatSlowsItDown) {
  const auto upkeep = wait<Upkeep>([&](auto reply) { store_->upkeep(reply); });
  ASSERT_TRUE(upkeep) << upkeep.error().message;
  EXPECT_GE(upkeep->dead_rows, 0);
  EXPECT_LT(upkeep->oldest_transaction_seconds, 3600);
}

TEST_P(AnyJobStore, CountsTheServersThatHaveAModel) {
  EXPECT_TRUE(servers().empty());
  announce("demo", "small", "one");
  announce("demo", "small", "two");
  announce("sdxl", "large", "two");
  EXPECT_EQ(servers(), (std::map<std::string, std::int64_t>{{"demo", 2}, {"sdxl", 1}}));
  EXPECT_TRUE(*wait<bool>([&](auto reply) { store_->leave("two", reply); }));
  EXPECT_EQ(servers(), (std::map<std::string, std::int64_t>{{"demo", 1}, {"sdxl", 0}}));
  home_->advance(23);
  EXPECT_EQ(servers(), (std::map<std::string, std::int64_t>{{"demo", 0}, {"sdxl", 0}}));
  announce("demo", "small", "one");
  EXPECT_EQ(servers().at("demo"), 1);
}

TEST_P(AnyJobStore, TellsHowLongTheDatabaseTook) {
  std::atomic<int> changes = 0, questions = 0;
  StoreOptions counted = options();
  counted.answered = [&](bool changing, double seconds, bool well) {
    EXPECT_TRUE(well && seconds >= 0);
    ++(changing ? changes : questions);
  };
  store_.reset();
  store_ = home_->open(counted);
  const int before = changes;
  ASSERT_TRUE(enqueue(new_job("job_1")));
  EXPECT_TRUE(find("job_1"));
  EXPECT_EQ(changes, before + 1);
  EXPECT_EQ(questions, 1);
  store_.reset();
}

}  // namespace
}  // namespace diffused::jobstore
