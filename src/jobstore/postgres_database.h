// A PostgreSQL database that many servers share, on one connection and one thread.
//
// As with SQLite, changes that wait while others are on their way to the disk go together into the next
// transaction and share its sync. If one of them fails, each is tried alone, so that what can be done is not
// refused for what cannot. Questions follow in the same flight, each a transaction of its own.
//
// A connection that is lost is made again, with growing pauses; meanwhile calls are answered at once with
// `unavailable`. A call that was under way then may have been done or not: that is what fences and
// idempotency keys are for.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "jobstore/database.h"
#include "jobstore/postgres_link.h"
#include "jobstore/postgres_schema.h"

namespace diffused::jobstore {

struct PostgresOptions {
  std::chrono::milliseconds answer_timeout = std::chrono::seconds(5);  // silence that counts as lost
  std::chrono::milliseconds reconnect_min = std::chrono::milliseconds(100);
  std::chrono::milliseconds reconnect_max = std::chrono::seconds(5);
  std::size_t calls_waiting_max = 10'000;
  bool require_sync = false;                  // only a database whose commits wait for a standby will do
  std::string application_name = "diffused";  // in pg_stat_activity, unless the URL names one
};

// Makes the tables or brings them up to date, and says which it was. Errors: as PostgresDatabase::open.
Result<Migration> migrate_postgres(const std::string& url, PostgresOptions options = {});

class PostgresDatabase final : public Database {
 public:
  // Connects, brings the schema up to date and starts the thread. `url`: postgresql://user@host/name, or
  // anything that libpq takes. Errors, with PostgreSQL's own words: invalid_argument (no such URL),
  // unavailable (no connection, refused), unsupported (schema of a newer version, another encoding,
  // no synchronous standby though one is required).
  static Result<std::unique_ptr<PostgresDatabase>> open(const std::string& url, PostgresOptions options);
  PostgresDatabase(const PostgresDatabase&) = delete;
  PostgresDatabase& operator=(const PostgresDatabase&) = delete;
  // Does what was asked for, if the database is there, and closes the connection.
  ~PostgresDatabase() override;

  void run(StatementName name, Values parameters, Reply<Rows> reply) override;
  void tell(std::string message) override;
  void hear(std::function<void(const std::string&)> listener) override;
  // False while there is no connection, and after a failed change until one succeeds that changed something.
  bool healthy() const override { return connected_ && healthy_; }

 private:
  struct Call {
    StatementName name;
    Values parameters;
    Reply<Rows> reply;
  };
  using Calls = std::vector<Call>;

  PostgresDatabase(std::string url, PostgresOptions options, std::unique_ptr<PostgresLink> link);
  static Result<std::unique_ptr<PostgresLink>> connect(const std::string& url,
                                                       const PostgresOptions& options);

  void work();
  void connect_again();
  bool sleep_until_needed();
  void do_calls(Calls& calls, std::vector<std::string>& messages);
  void do_alone(Calls& calls);
  void settle(Call& call, PostgresLink::Outcome<std::vector<Rows>> outcome);
  void note(const PostgresFailure& failure);
  std::chrono::milliseconds pause();
  void wake() const;

  const std::string url_;
  const PostgresOptions options_;
  const int wake_;  // descriptor of the event that ends a wait
  std::array<bool, kStatements> changes_{};
  std::array<std::string, kStatements> names_;
  std::atomic<bool> connected_ = true;
  std::atomic<bool> healthy_ = true;

  // The thread's own:
  std::unique_ptr<PostgresLink> link_;  // null while there is no connection
  int failures_in_a_row_ = 0;
  std::minstd_rand chance_;
  std::chrono::steady_clock::time_point tell_not_before_{};

  std::mutex mutex_;
  Calls waiting_;                      // guarded by mutex_
  std::vector<std::string> messages_;  // guarded by mutex_
  bool closing_ = false;               // guarded by mutex_
  std::mutex listener_mutex_;
  std::function<void(const std::string&)> listener_;  // guarded by listener_mutex_
  std::thread thread_;                                // last: it uses all of the above
};

}  // namespace diffused::jobstore
