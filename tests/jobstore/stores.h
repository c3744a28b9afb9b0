// A job store of each kind, and calls that wait for their reply.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>

#include "jobstore/job_store.h"
#include "jobstore/postgres_job_store.h"
#include "jobstore/sqlite_job_store.h"
#include "support/fake_clock.h"
#include "support/files.h"
#include "support/postgres_cluster.h"

namespace diffused::jobstore {

// Makes the call and waits: wait<Job>([&](auto reply) { store.find("x", {}, reply); })
template <typename T>
Result<T> wait(const std::function<void(Reply<T>)>& call) {
  std::promise<Result<T>> promise;
  call([&promise](Result<T> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

// A place where a store lives on when it is closed.
class StoreHome {
 public:
  virtual ~StoreHome() = default;
  virtual std::unique_ptr<JobStore> open(StoreOptions options = {}) = 0;
  // Lets time pass for the store.
  virtual void advance(double seconds) = 0;
};

class SqliteHome final : public StoreHome {
 public:
  std::unique_ptr<JobStore> open(StoreOptions options = {}) override {
    auto store = open_sqlite_job_store(file(), options, clock_);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  void advance(double seconds) override { clock_.advance(seconds); }
  std::filesystem::path file() const { return folder_.path() / "jobs.db"; }
  const Clock& clock() const { return clock_; }

 private:
  TemporaryFolder folder_;
  test::FakeClock clock_;
};

// A schema of its own in the cluster that all tests of this process share.
class PostgresHome final : public StoreHome {
 public:
  explicit PostgresHome(test::PostgresCluster& cluster = test::PostgresCluster::shared())
      : url_(cluster.fresh_schema()) {}
  std::unique_ptr<JobStore> open(StoreOptions options = {}) override {
    auto store = open_postgres_job_store(url_, options);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  // The clock is the database's, so what the rows remember moves into the past instead.
  void advance(double seconds) override {
    test::postgres_ask(
        url_,
        fmt::format("UPDATE job SET lease_until = lease_until - 1000 * {0}, "
                    "created = created - {0}, accepted = accepted - 1000 * {0}, started = started - {0}, "
                    "finished = finished - {0}, expires = expires - {0};"
                    "UPDATE model SET added = added - {0}, seen = seen - {0};"
                    "UPDATE server SET seen = seen - {0}",
                    static_cast<int>(seconds)));
  }
  const std::string& url() const { return url_; }

 private:
  const std::string url_;
};

inline std::unique_ptr<StoreHome> make_home(const std::string& kind) {
  if (kind == "postgresql") return std::make_unique<PostgresHome>();
  EXPECT_EQ(kind, "sqlite");
  return std::make_unique<SqliteHome>();
}

inline NewJob new_job(std::string id, std::string owner = "ann", double cost = 1) {
  NewJob job;
  job.id = std::move(id);
  job.owner = std::move(owner);
  job.pool = "demo";
  job.batch_key = "64x64";
  job.cost = cost;
  job.spec = R"({"prompt": "Katze 'äöü' 猫"})";
  job.request_hash = "hash";
  return job;
}

}  // namespace diffused::jobstore
