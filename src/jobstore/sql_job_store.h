// The job store on a database of either kind.
#pragma once

#include <memory>

#include "jobstore/database.h"
#include "jobstore/job_store.h"

namespace diffused::jobstore {

class SqlJobStore final : public JobStore {
 public:
  SqlJobStore(std::unique_ptr<Database> database, StoreOptions options)
      : options_(options), database_(std::move(database)) {}

  void enqueue(NewJob job, Reply<Enqueued> reply) override;
  void claim(Claim claim, Reply<std::vector<Job>> reply) override;
  void renew(Lease lease, int progress, Reply<bool> reply) override;
  void succeed(Lease lease, std::string outcome, Reply<bool> reply) override;
  void fail(Lease lease, std::string outcome, Reply<bool> reply) override;
  void give_back(Lease lease, bool used, std::string outcome, Reply<bool> reply) override;
  void reap(Reply<std::vector<Job>> reply) override;
  void give_up(std::string outcome, Reply<std::vector<Job>> reply) override;
  void find(std::string id, std::optional<std::string> owner, Reply<Job> reply) override;
  void list(Page page, Reply<std::vector<Job>> reply) override;
  void position(std::string id, Reply<std::int64_t> reply) override;
  void count(Reply<Counts> reply) override;
  void cancel(std::string id, std::optional<std::string> owner, Reply<Job> reply) override;
  void remove(std::string id, std::optional<std::string> owner, Reply<Job> reply) override;
  void expire(Reply<std::int64_t> reply) override;
  void announce(std::string model, std::string description, std::string server, Reply<bool> reply) override;
  void leave(std::string server, Reply<bool> reply) override;
  void servers(Reply<std::map<std::string, std::int64_t>> reply) override;
  void models(Reply<std::vector<Announced>> reply) override;
  void list_state(JobState state, int jobs_max, Reply<std::vector<Job>> reply) override;
  void requeue(std::string id, Reply<Job> reply) override;
  void pause(std::string pool, bool paused, Reply<bool> reply) override;
  void paused(Reply<std::vector<std::string>> reply) override;
  void upkeep(Reply<Upkeep> reply) override;
  void tell(std::string message) override { database_->tell(std::move(message)); }
  void hear(std::function<void(const std::string&)> listener) override {
    database_->hear(std::move(listener));
  }
  bool healthy() const override { return database_->healthy(); }
  bool broken() const override { return database_->broken(); }
  void when_broken(std::function<void()> listener) override { database_->when_broken(std::move(listener)); }

  // As reap, for all leases: nobody who held one is left.
  void reap_all(Reply<std::vector<Job>> reply);

 private:
  // Whether there is room for another job, making some if need be.
  Result<void> make_room();
  // As Database::run, counted.
  void run(StatementName name, Values parameters, Reply<Rows> reply);
  void reap_within(std::int64_t milliseconds, Reply<std::vector<Job>> reply);
  Error too_many() const;
  // Finds the job of the same idempotency key; `otherwise` when there is none.
  void replay(const NewJob& job, Error otherwise, Reply<Enqueued> reply);
  void end(Lease lease, JobState state, std::string outcome, Reply<bool> reply);
  void claim_from(std::string pool, const Claim& claim, Reply<std::vector<Job>> reply);
  void list_beyond(std::int64_t sequence, const Page& page, Reply<std::vector<Job>> reply);
  // Runs `name` on the owner's job; `otherwise` is told what it is when the statement changed nothing.
  void change(StatementName name, Values parameters, std::optional<std::string> owner,
              std::function<Result<Job>(Job)> otherwise, Reply<Job> reply);

  const StoreOptions options_;
  const std::unique_ptr<Database> database_;  // last: its replies use the above
};

}  // namespace diffused::jobstore
