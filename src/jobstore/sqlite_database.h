// A SQLite file of one process, on one connection and one thread.
//
// One connection, because SQLite from 3.7.0 to 3.51.2 can damage a write-ahead log that two connections write
// and checkpoint at the same moment. What waits goes into one transaction: the time one fsync takes is the
// window in which the next group gathers, so that many changes share it.
#pragma once

#include <sqlite3.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "jobstore/database.h"

namespace diffused::jobstore {

class SqliteDatabase final : public Database {
 public:
  // Opens `file`, making it and its schema if need be, checks it, and starts the thread. `clock` must outlive
  // it. Errors: unavailable (another process has it open), data_loss (damaged, or not ours),
  // unsupported (made by a newer version), invalid_argument (cannot be made or opened).
  static Result<std::unique_ptr<SqliteDatabase>> open(const std::filesystem::path& file,
                                                      std::size_t calls_waiting_max, const Clock& clock);
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;
  // Does what was asked for, writes the log back into the file and closes it.
  ~SqliteDatabase() override;

  void run(StatementName name, Values parameters, Reply<Rows> reply) override;
  // False after a failed change until one succeeds that changed something (nothing to change needs no disk),
  // and for good once the disk did not confirm a write.
  bool healthy() const override { return healthy_ && !broken_; }

 private:
  struct Call {
    StatementName name;
    Values parameters;
    Reply<Rows> reply;
  };
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Connection = std::unique_ptr<sqlite3, Close>;
  using Prepared = std::unique_ptr<sqlite3_stmt, Close>;

  SqliteDatabase(int lock, std::size_t calls_waiting_max)
      : lock_(lock), calls_waiting_max_(calls_waiting_max) {}

  Result<void> connect(const std::filesystem::path& file, const Clock& clock);
  Result<void> migrate();
  Result<void> prepare();
  Result<void> execute(const char* sql);
  Result<std::int64_t> pragma(const char* name);

  void work();
  void run_changes(std::vector<Call>& calls);
  void run_alone(Call& call);
  Result<Rows> step(const Call& call);
  tl::unexpected<Error> failure(int code);

  const int lock_;  // descriptor of the lock file
  const std::size_t calls_waiting_max_;
  Connection connection_;
  std::array<Prepared, kStatements> prepared_;
  Prepared begin_, commit_, rollback_;
  std::array<bool, kStatements> changes_{};
  std::atomic<bool> healthy_ = true;
  // An fsync failed: what the file holds is not known any more, and asking again would not tell.
  std::atomic<bool> broken_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Call> waiting_;  // guarded by mutex_
  bool closing_ = false;       // guarded by mutex_
  std::thread thread_;         // last: it uses all of the above
};

}  // namespace diffused::jobstore
