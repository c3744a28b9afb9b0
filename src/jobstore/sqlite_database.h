// A SQLite file of one process, on one connection and one thread.
//
// One connection, because SQLite from 3.7.0 to 3.51.2 can damage a write-ahead log that two connections write
// and checkpoint at the same moment. What waits goes into one transaction: the time one fsync takes is the
// window in which the next group gathers, so that many changes share it.
//
// Once the disk has not confirmed a write, or the file is not the one of its name any more, nothing is
// promised: the database is broken for good, and a new start reads what is there.
#pragma once

#include <sqlite3.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "jobstore/database.h"
#include "jobstore/file_witness.h"

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
  // False after a failed change until one succeeds that changed something (nothing to change needs no disk);
  // a trial of its own now and then will do.
  bool healthy() const override { return healthy_ && !broken_; }
  bool broken() const override { return broken_; }
  void when_broken(std::function<void()> listener) override;
  std::uint64_t bytes() const override { return bytes_; }

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

  using Calls = std::vector<Call>;

  SqliteDatabase(int lock, const std::filesystem::path& file, std::size_t calls_waiting_max)
      : lock_(lock), calls_waiting_max_(calls_waiting_max), file_(file), log_(file.string() + "-wal") {}

  Result<void> connect(const std::filesystem::path& file, const Clock& clock);
  void close_log();
  Result<void> migrate();
  Result<void> prepare();
  Result<void> execute(const char* sql);
  Result<std::int64_t> pragma(const char* name);

  void work();
  // Waits for calls, or for the time of a trial. False: it is over.
  bool take(Calls& calls);
  void run_group(std::span<Call> calls);
  void run_changes(std::span<Call> calls);
  // Whether all of them are durable; else all are undone. Replies to nobody.
  bool commit(std::span<Call> calls, std::vector<Result<Rows>>& results);
  void checkpoint();
  // Whether a change would work again.
  void try_to_write();
  // Whether the files are what they were; else it is broken.
  bool in_place(bool may_be_shorter = false);
  void remember_files();
  std::int64_t number(const Prepared& statement);
  Result<Rows> step(const Call& call);
  tl::unexpected<Error> failure(int code);
  void give_up(const char* why);

  const int lock_;  // descriptor of the lock file
  const std::size_t calls_waiting_max_;
  Connection connection_;
  std::array<Prepared, kStatements> prepared_;
  Prepared begin_, commit_, rollback_, page_count_, free_pages_;
  std::array<bool, kStatements> changes_{};
  std::atomic<bool> healthy_ = true;
  std::atomic<bool> broken_ = false;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::int64_t page_bytes_ = 0;
  int log_pages_ = 0;  // of the write-ahead log, at the last commit
  FileWitness file_, log_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Call> waiting_;  // guarded by mutex_
  bool closing_ = false;      // guarded by mutex_
  std::mutex listener_mutex_;
  std::function<void()> listener_;  // guarded by listener_mutex_; called when it breaks
  std::thread thread_;              // last: it uses all of the above
};

}  // namespace diffused::jobstore
