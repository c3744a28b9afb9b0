// A job store of either kind, and short words for its calls.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stores.h"

namespace diffused::jobstore {

class AnyJobStore : public testing::TestWithParam<const char*> {
 protected:
  AnyJobStore() : home_(make_home(GetParam())), store_(home_->open(options())) {}

  static StoreOptions options() {
    StoreOptions options;
    options.lease = std::chrono::seconds(10);
    options.lifetime = std::chrono::seconds(100);
    options.attempts_max = 2;
    return options;
  }
  void reopen() {
    store_.reset();
    store_ = home_->open(options());
  }

  Result<Enqueued> enqueue(NewJob job) {
    return wait<Enqueued>([&](auto reply) { store_->enqueue(job, reply); });
  }
  std::vector<Job> claim(int jobs_max = 1, std::vector<std::string> pools = {"demo"}) {
    auto jobs = wait<std::vector<Job>>([&](auto reply) { store_->claim({pools, jobs_max, "this"}, reply); });
    EXPECT_TRUE(jobs) << jobs.error().message;
    return *jobs;
  }
  Lease claim_one() {
    const auto jobs = claim();
    EXPECT_EQ(jobs.size(), 1u);
    return {jobs.at(0).id, jobs.at(0).lease};
  }
  bool renew(Lease lease, int progress = 0) {
    return *wait<bool>([&](auto reply) { store_->renew(lease, progress, reply); });
  }
  bool succeed(Lease lease, std::string outcome = "{}") {
    return *wait<bool>([&](auto reply) { store_->succeed(lease, outcome, reply); });
  }
  bool fail(Lease lease) {
    return *wait<bool>([&](auto reply) { store_->fail(lease, "bad", reply); });
  }
  bool give_back(Lease lease, bool used) {
    return *wait<bool>([&](auto reply) { store_->give_back(lease, used, "worn out", reply); });
  }
  std::size_t reap() {
    reaped_ = *wait<std::vector<Job>>([&](auto reply) { store_->reap(reply); });
    return reaped_.size();
  }
  std::vector<Job> give_up() {
    return *wait<std::vector<Job>>([&](auto reply) { store_->give_up("too late", reply); });
  }
  std::map<std::string, std::int64_t> servers() {
    return *wait<std::map<std::string, std::int64_t>>([&](auto reply) { store_->servers(reply); });
  }
  std::int64_t expire() {
    return *wait<std::int64_t>([&](auto reply) { store_->expire(reply); });
  }
  std::int64_t position(std::string id) {
    return *wait<std::int64_t>([&](auto reply) { store_->position(id, reply); });
  }
  Result<Job> find(std::string id, std::optional<std::string> owner = std::nullopt) {
    return wait<Job>([&](auto reply) { store_->find(id, owner, reply); });
  }
  Result<Job> cancel(std::string id, std::optional<std::string> owner = std::nullopt) {
    return wait<Job>([&](auto reply) { store_->cancel(id, owner, reply); });
  }
  Result<Job> remove(std::string id, std::optional<std::string> owner = std::nullopt) {
    return wait<Job>([&](auto reply) { store_->remove(id, owner, reply); });
  }
  Counts count() {
    return *wait<Counts>([&](auto reply) { store_->count(reply); });
  }
  bool announce(std::string model, std::string description, std::string server = "one") {
    return *wait<bool>([&](auto reply) { store_->announce(model, description, server, reply); });
  }
  std::vector<Announced> models() {
    return *wait<std::vector<Announced>>([&](auto reply) { store_->models(reply); });
  }
  JobState state(std::string id) { return find(id)->state; }
  std::vector<std::string> order() {
    std::vector<std::string> ids;
    for (auto jobs = claim(); !jobs.empty(); jobs = claim()) ids.push_back(jobs[0].id);
    return ids;
  }

  std::vector<Job> reaped_;  // by the last reap()
  std::unique_ptr<StoreHome> home_;
  std::unique_ptr<JobStore> store_;
};

}  // namespace diffused::jobstore
