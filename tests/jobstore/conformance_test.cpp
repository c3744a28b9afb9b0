// What every job store does alike.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "any_job_store.h"

namespace diffused::jobstore {
namespace {

using testing::ElementsAre;

INSTANTIATE_TEST_SUITE_P(Stores, AnyJobStore, testing::Values("sqlite", "postgresql"));

TEST_P(AnyJobStore, TakesAJobFromTheQueueToItsResult) {
  const auto added = enqueue(new_job("job_1"));
  ASSERT_TRUE(added);
  EXPECT_FALSE(added->replayed);
  EXPECT_EQ(added->job.state, JobState::queued);
  const std::vector<Job> claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].state, JobState::running);
  EXPECT_EQ(claimed[0].attempt, 1);
  EXPECT_EQ(claimed[0].spec, new_job("").spec);
  EXPECT_TRUE(claim().empty());
  EXPECT_TRUE(succeed({"job_1", claimed[0].lease}, "the result"));
  const auto done = find("job_1");
  EXPECT_EQ(done->state, JobState::succeeded);
  EXPECT_EQ(done->outcome, "the result");
  EXPECT_GE(*done->started, done->created);
  EXPECT_GE(*done->finished, *done->started);
  EXPECT_EQ(*done->expires, *done->finished + 100);
}

TEST_P(AnyJobStore, LimitsWhatOneOwnerHasWaitingAndStillKnowsWhatWasAccepted) {
  StoreOptions limited = options();
  limited.owner_queued_max = 2;
  store_.reset();
  store_ = home_->open(limited);
  NewJob keyed = new_job("job_1");
  keyed.idempotency_key = "key";
  ASSERT_TRUE(enqueue(keyed));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  const auto refused = enqueue(new_job("job_3"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::overloaded);
  EXPECT_EQ(refused.error().reason, "queue_full");
  EXPECT_TRUE(refused.error().retry_after);
  keyed.id = "job_4";
  const auto again = enqueue(keyed);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->job.id, "job_1");
  keyed.idempotency_key = "another";
  EXPECT_EQ(enqueue(keyed).error().reason, "queue_full");
  EXPECT_TRUE(enqueue(new_job("job_5", "bob")));
  claim_one();  // what runs does not wait
  EXPECT_TRUE(enqueue(new_job("job_6")));
}

TEST_P(AnyJobStore, LimitsWhatOneOwnerSendsAtTheSameMoment) {
  StoreOptions limited = options();
  limited.owner_queued_max = 5;
  store_.reset();
  store_ = home_->open(limited);
  std::vector<std::promise<bool>> added(40);
  for (std::size_t i = 0; i < added.size(); ++i)
    store_->enqueue(new_job("job_" + std::to_string(i)),
                    [&added, i](Result<Enqueued> job) { added[i].set_value(job.has_value()); });
  int accepted = 0;
  for (auto& one : added) accepted += one.get_future().get() ? 1 : 0;
  EXPECT_EQ(accepted, 5);
  EXPECT_EQ(count().queued, 5);
}

TEST_P(AnyJobStore, KeepsAFailure) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  EXPECT_TRUE(fail(claim_one()));
  EXPECT_EQ(state("job_1"), JobState::failed);
  EXPECT_EQ(find("job_1")->outcome, "bad");
}

TEST_P(AnyJobStore, CountsTheJobsAndTheWorkThatWait) {
  EXPECT_EQ(count().queued_cost, 0);
  ASSERT_TRUE(enqueue(new_job("job_1", "ann", 2.5)));
  ASSERT_TRUE(enqueue(new_job("job_2", "ann", 4)));
  EXPECT_EQ(count().queued, 2);
  EXPECT_EQ(count().queued_cost, 6.5);
  claim_one();
  EXPECT_EQ(count().queued, 1);
  EXPECT_EQ(count().running, 1);
  EXPECT_EQ(count().queued_cost, 4);
}

TEST_P(AnyJobStore, KnowsNoJobThatIsNotThere) {
  EXPECT_EQ(find("job_1").error().code, ErrorCode::not_found);
  EXPECT_EQ(cancel("job_1").error().code, ErrorCode::not_found);
  EXPECT_EQ(remove("job_1").error().code, ErrorCode::not_found);
  EXPECT_FALSE(renew({"job_1", 1}));
  EXPECT_FALSE(succeed({"job_1", 1}));
}

TEST_P(AnyJobStore, HidesAJobFromOtherOwners) {
  ASSERT_TRUE(enqueue(new_job("job_1", "ann")));
  EXPECT_TRUE(find("job_1", "ann"));
  EXPECT_EQ(find("job_1", "bob").error().code, ErrorCode::not_found);
  EXPECT_EQ(cancel("job_1", "bob").error().code, ErrorCode::not_found);
  EXPECT_EQ(state("job_1"), JobState::queued);
  ASSERT_TRUE(cancel("job_1", "ann"));
  EXPECT_EQ(remove("job_1", "bob").error().code, ErrorCode::not_found);
  EXPECT_TRUE(remove("job_1", "ann"));
}

TEST_P(AnyJobStore, FencesOffWhoeverHeldTheLeaseBefore) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  const Lease first = claim_one();
  home_->advance(11);
  EXPECT_EQ(reap(), 1u);
  const Lease second = claim_one();
  EXPECT_GT(second.number, first.number);
  EXPECT_FALSE(renew(first));
  EXPECT_FALSE(succeed(first));
  EXPECT_FALSE(fail(first));
  EXPECT_FALSE(give_back(first, false));
  EXPECT_EQ(state("job_1"), JobState::running);
  EXPECT_TRUE(succeed(second));
  EXPECT_FALSE(succeed(second));
}

TEST_P(AnyJobStore, LeavesAJobAloneWhoseLeaseIsRenewed) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  const Lease lease = claim_one();
  for (int i = 0; i < 3; ++i) {
    home_->advance(7);
    EXPECT_TRUE(renew(lease));
    EXPECT_EQ(reap(), 0u);
  }
  EXPECT_TRUE(succeed(lease));
}

TEST_P(AnyJobStore, ShowsHowFarTheLastRenewalSawTheJob) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  const Lease first = claim_one();
  EXPECT_EQ(find("job_1")->progress, 0);
  EXPECT_TRUE(renew(first, 40));
  EXPECT_EQ(find("job_1")->progress, 40);
  EXPECT_TRUE(give_back(first, true));
  claim_one();
  EXPECT_EQ(find("job_1")->progress, 0);
}

TEST_P(AnyJobStore, GivesUpAJobThatLosesItsWorkerEachTime) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  for (int attempt = 1; attempt <= 2; ++attempt) {
    EXPECT_EQ(claim().at(0).attempt, attempt);
    home_->advance(11);
    EXPECT_EQ(reap(), 1u);
  }
  EXPECT_EQ(state("job_1"), JobState::failed);
  EXPECT_EQ(find("job_1")->outcome, std::nullopt);
  EXPECT_TRUE(claim().empty());
}

TEST_P(AnyJobStore, CountsOnlyAttemptsThatWereUsed) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  for (int i = 0; i < 5; ++i) {
    const auto jobs = claim();
    ASSERT_EQ(jobs.size(), 1u);
    EXPECT_EQ(jobs[0].attempt, 1);
    EXPECT_TRUE(give_back({"job_1", jobs[0].lease}, false));
  }
  EXPECT_TRUE(give_back(claim_one(), true));
  EXPECT_EQ(state("job_1"), JobState::queued);
  EXPECT_TRUE(give_back(claim_one(), true));
  EXPECT_EQ(state("job_1"), JobState::failed);
  EXPECT_EQ(find("job_1")->outcome, "worn out");
}

TEST_P(AnyJobStore, CancelsWhatWaitsAndWhatRunsButNotWhatHasEnded) {
  for (const char* id : {"job_1", "job_2", "job_3"}) ASSERT_TRUE(enqueue(new_job(id)));
  ASSERT_TRUE(succeed(claim_one()));
  const Lease running = claim_one();
  EXPECT_EQ(cancel("job_2")->state, JobState::cancelled);
  EXPECT_FALSE(renew(running));
  EXPECT_FALSE(succeed(running));
  EXPECT_EQ(cancel("job_3")->state, JobState::cancelled);
  EXPECT_EQ(cancel("job_1")->state, JobState::succeeded);
  EXPECT_TRUE(claim().empty());
}

TEST_P(AnyJobStore, RemovesOnlyWhatHasEnded) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  EXPECT_EQ(remove("job_1").error().code, ErrorCode::conflict);
  const Lease lease = claim_one();
  EXPECT_EQ(remove("job_1").error().code, ErrorCode::conflict);
  ASSERT_TRUE(succeed(lease, "result"));
  EXPECT_EQ(remove("job_1")->outcome, "result");
  EXPECT_EQ(find("job_1").error().code, ErrorCode::not_found);
}

TEST_P(AnyJobStore, ForgetsEndedJobsAfterTheirLifetime) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  ASSERT_TRUE(succeed(claim_one()));
  home_->advance(99);
  EXPECT_EQ(expire(), 0);
  home_->advance(2);
  EXPECT_EQ(expire(), 1);
  EXPECT_FALSE(find("job_1"));
  EXPECT_EQ(state("job_2"), JobState::queued);
}

TEST_P(AnyJobStore, KnowsWhichModelsItsServersHaveAndForgetsNoName) {
  EXPECT_TRUE(models().empty());
  EXPECT_TRUE(announce("demo", "small 'äöü' 猫"));
  EXPECT_TRUE(announce("sdxl", "large"));
  EXPECT_FALSE(announce("demo", "small 'äöü' 猫"));  // nothing new
  const auto first = models();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].name, "demo");
  EXPECT_EQ(first[0].description, "small 'äöü' 猫");
  EXPECT_GT(first[0].added, 0);
  EXPECT_TRUE(first[0].served && first[1].served);

  home_->advance(10);
  EXPECT_TRUE(models()[0].served);
  EXPECT_TRUE(announce("demo", "other"));
  home_->advance(5);
  const auto second = models();
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(second[0].description, "other");
  EXPECT_TRUE(second[0].served);
  EXPECT_FALSE(second[1].served);

  home_->advance(3590);
  expire();
  ASSERT_EQ(models().size(), 2u);
  EXPECT_TRUE(models()[0].recent);
  EXPECT_FALSE(models()[0].served || models()[1].recent || models()[1].served);
  EXPECT_LE(models()[0].added, second[0].added);  // in PostgreSQL time is let pass by moving what is written
  home_->advance(10);
  EXPECT_FALSE(models()[0].recent);
  EXPECT_TRUE(announce("demo", "other"));
  EXPECT_TRUE(models()[0].served && models()[0].recent);
}

TEST_P(AnyJobStore, NamesTheModelsThatItHasKnownLongestFirst) {
  EXPECT_TRUE(announce("zebra", "old"));
  home_->advance(5);
  EXPECT_TRUE(announce("ant", "new"));
  EXPECT_TRUE(announce("aardvark", "in the same second"));
  ASSERT_EQ(models().size(), 3u);
  EXPECT_EQ(models()[0].name, "zebra");
  EXPECT_EQ(models()[1].name, "ant");
  EXPECT_EQ(models()[2].name, "aardvark");
  EXPECT_TRUE(announce("zebra", "changed"));
  EXPECT_EQ(models()[0].name, "zebra");
}

TEST_P(AnyJobStore, AnswersARepeatedKeyWithTheSameJob) {
  NewJob job = new_job("job_1");
  job.idempotency_key = "key";
  ASSERT_TRUE(enqueue(job));
  job.id = "job_2";
  const auto again = enqueue(job);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->job.id, "job_1");
  EXPECT_EQ(count().queued, 1);
  job.request_hash = "other";
  const auto other = enqueue(job);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::conflict);
  job.owner = "bob";
  EXPECT_FALSE(enqueue(job)->replayed);
}

TEST_P(AnyJobStore, ServesHigherPrioritiesFirstAndThenTheOldest) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  NewJob urgent = new_job("job_3");
  urgent.priority = 1;
  ASSERT_TRUE(enqueue(urgent));
  EXPECT_EQ(position("job_3"), 0);
  EXPECT_EQ(position("job_1"), 1);
  EXPECT_EQ(position("job_2"), 2);
  EXPECT_THAT(order(), ElementsAre("job_3", "job_1", "job_2"));
  EXPECT_EQ(position("job_2"), 0);
}

TEST_P(AnyJobStore, LetsOwnersTakeTurns) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(enqueue(new_job("a" + std::to_string(i), "ann")));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(enqueue(new_job("b" + std::to_string(i), "bob")));
  EXPECT_THAT(order(), ElementsAre("a0", "b0", "a1", "b1", "a2", "a3"));
}

TEST_P(AnyJobStore, DoesNotLetANewcomerMakeUpForTimeItWasAway) {
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(enqueue(new_job("a" + std::to_string(i), "ann")));
  for (int i = 0; i < 3; ++i) claim();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(enqueue(new_job("b" + std::to_string(i), "bob")));
  EXPECT_THAT(order(), ElementsAre("a3", "b0", "a4", "b1", "a5", "b2"));
}

TEST_P(AnyJobStore, ClaimsJobsOfOneBatchKeyTogether) {
  for (const char* key : {"small", "large", "small", "large"}) {
    NewJob job = new_job("job_" + std::to_string(count().queued + 1));
    job.batch_key = key;
    ASSERT_TRUE(enqueue(job));
  }
  const auto first = claim(4);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_THAT((std::set<std::string>{first[0].id, first[1].id}), ElementsAre("job_1", "job_3"));
  EXPECT_EQ(claim(1).at(0).id, "job_2");
}

TEST_P(AnyJobStore, ClaimsJobsOfThePreferredKeyBeforeOlderOnesButNotBeforeMoreUrgentOnes) {
  const auto add = [&](const std::string& id, const std::string& key, int priority) {
    NewJob job = new_job(id);
    job.batch_key = key;
    job.priority = priority;
    ASSERT_TRUE(enqueue(job));
  };
  add("job_1", "small", 0);
  add("job_2", "large", 0);
  add("job_3", "large", 0);
  add("job_4", "small", 1);
  const auto claim_preferring = [&](const std::string& key) {
    auto jobs = wait<std::vector<Job>>([&](auto reply) { store_->claim({{"demo"}, 1, "this", key}, reply); });
    return jobs->empty() ? "" : jobs->front().id;
  };
  EXPECT_EQ(claim_preferring("large"), "job_4");
  EXPECT_EQ(claim_preferring("large"), "job_2");
  EXPECT_EQ(claim_preferring("none such"), "job_1");
  EXPECT_EQ(claim_preferring("small"), "job_3");
}

TEST_P(AnyJobStore, ClaimsOnlyFromThePoolsNamedTheBestFirst) {
  NewJob other = new_job("job_1");
  other.pool = "other";
  ASSERT_TRUE(enqueue(other));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  EXPECT_TRUE(claim(1, {"third"}).empty());
  EXPECT_TRUE(claim(1, {}).empty());
  EXPECT_EQ(claim(1, {"demo", "other", "third"}).at(0).id, "job_1");
  EXPECT_EQ(claim(1, {"demo", "other"}).at(0).id, "job_2");
}

TEST_P(AnyJobStore, ListsAnOwnersJobsPageByPage) {
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(enqueue(new_job("job_" + std::to_string(i))));
  ASSERT_TRUE(enqueue(new_job("hers", "bob")));
  const auto page = [&](std::optional<std::string> after, bool newest_first) {
    std::vector<std::string> ids;
    const auto jobs = wait<std::vector<Job>>([&](auto reply) {
      store_->list({"ann", after, 2, newest_first}, reply);
    });
    for (const Job& job : *jobs) ids.push_back(job.id);
    return ids;
  };
  EXPECT_THAT(page({}, true), ElementsAre("job_5", "job_4"));
  EXPECT_THAT(page("job_4", true), ElementsAre("job_3", "job_2"));
  EXPECT_THAT(page("job_2", true), ElementsAre("job_1"));
  EXPECT_THAT(page({}, false), ElementsAre("job_1", "job_2"));
  EXPECT_THAT(page("job_2", false), ElementsAre("job_3", "job_4"));
  const auto foreign = wait<std::vector<Job>>([&](auto reply) { store_->list({"ann", "hers", 2}, reply); });
  EXPECT_EQ(foreign.error().code, ErrorCode::not_found);
}

TEST_P(AnyJobStore, IsAsItWasAfterBeingOpenedAgain) {
  ASSERT_TRUE(enqueue(new_job("job_1")));
  ASSERT_TRUE(enqueue(new_job("job_2")));
  ASSERT_TRUE(succeed(claim_one(), "result"));
  reopen();
  EXPECT_EQ(find("job_1")->outcome, "result");
  EXPECT_EQ(find("job_1")->spec, new_job("").spec);
  EXPECT_EQ(claim_one().id, "job_2");
}

// Threads enqueue, work, lose leases and cancel at random; then every job has ended once.
TEST_P(AnyJobStore, EndsEveryJobOnceWhateverManyThreadsDo) {
  constexpr int kJobs = 120;
  std::atomic<int> enqueued = 0;
  std::mutex mutex;
  std::map<std::string, int> successes;
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int next = enqueued++; next < kJobs; next = enqueued++) {
      ASSERT_TRUE(enqueue(new_job("job_" + std::to_string(next), "owner" + std::to_string(seed))));
      if (random() % 10 == 0) {
        ASSERT_TRUE(cancel("job_" + std::to_string(next)));
      }
      for (const Job& job : claim(2)) {
        const Lease lease{job.id, job.lease};
        if (random() % 4 == 0) {
          give_back(lease, false);
        } else if (succeed(lease)) {
          const std::lock_guard lock(mutex);
          ++successes[job.id];
        }
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  }
  for (auto jobs = claim(); !jobs.empty(); jobs = claim())
    if (succeed({jobs[0].id, jobs[0].lease})) ++successes[jobs[0].id];
  for (int i = 0; i < kJobs; ++i) {
    const std::string id = "job_" + std::to_string(i);
    EXPECT_EQ(successes[id], state(id) == JobState::succeeded ? 1 : 0) << id;
    EXPECT_TRUE(find(id)->ended()) << id;
  }
  EXPECT_EQ(count().queued + count().running, 0);
}

}  // namespace
}  // namespace diffused::jobstore
