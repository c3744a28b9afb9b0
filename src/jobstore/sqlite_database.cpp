#include "jobstore/sqlite_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace diffused::jobstore {
namespace {

using namespace std::chrono_literals;

constexpr auto kDiskRetryAfter = 5s;
// How often a store that failed is tried.
constexpr auto kTrialInterval = 1s;
// What goes into one transaction, so that the log stays small.
constexpr std::size_t kTransactionMax = 256;
constexpr int kLogPagesMax = 1000;

// A statement is ready for its next run, whatever ended this one.
struct StatementReset {
  sqlite3_stmt* statement;
  ~StatementReset() {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
  }
};

template <typename Call>
void answer_once(Call& call, Result<Rows> result) {
  const auto reply = std::exchange(call.reply, nullptr);
  if (reply) reply(std::move(result));
}

}  // namespace

void SqliteDatabase::run(StatementName name, Values parameters, Reply<Rows> reply) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < calls_waiting_max_) {
      waiting_.push_back({name, std::move(parameters), std::move(reply)});
      wake_.notify_one();
      return;
    }
  }
  Error full{ErrorCode::overloaded, "the job store is busy", {}, "job_store_busy"};
  full.retry_after = kDiskRetryAfter;
  reply(tl::unexpected(std::move(full)));
}

void SqliteDatabase::work() {
  Calls calls;
  calls.reserve(kTransactionMax);
  while (take(calls)) {
    try {
      if (calls.empty()) try_to_write();
      run_group(calls);
    } catch (const std::exception& fault) {
      log(LogLevel::error, "job_store_fault", {{"what", fault.what()}});
      if (sqlite3_get_autocommit(connection_.get()) == 0) sqlite3_step(rollback_.get());
      sqlite3_reset(rollback_.get());
      for (Call& call : calls) answer_once(call, failure(SQLITE_NOMEM));
    }
    calls.clear();
    if (log_pages_ >= kLogPagesMax) checkpoint();
  }
}

bool SqliteDatabase::take(Calls& calls) {
  std::unique_lock lock(mutex_);
  const auto needed = [this] { return closing_ || !waiting_.empty(); };
  if (healthy())
    wake_.wait(lock, needed);
  else
    wake_.wait_for(lock, kTrialInterval, needed);
  for (; !waiting_.empty() && calls.size() < kTransactionMax; waiting_.pop_front())
    calls.push_back(std::move(waiting_.front()));
  return !closing_ || !calls.empty();
}

void SqliteDatabase::run_group(std::span<Call> calls) {
  const auto questions = std::stable_partition(calls.begin(), calls.end(), [this](const Call& call) {
    return changes_[static_cast<std::size_t>(call.name)];
  });
  if (questions != calls.begin()) run_changes({calls.begin(), questions});
  // After the changes, so that an answer never tells of what a crash could still undo.
  for (Call& call : std::span(questions, calls.end()))
    answer_once(call, broken_ ? Result<Rows>(failure(SQLITE_IOERR)) : step(call));
}

void SqliteDatabase::run_changes(std::span<Call> calls) {
  std::vector<Result<Rows>> results;
  if (commit(calls, results)) {
    for (const Result<Rows>& result : results) healthy_ = healthy_ || !result->empty();
    for (std::size_t i = 0; i < calls.size(); ++i) answer_once(calls[i], std::move(results[i]));
    return;
  }
  const int code = sqlite3_extended_errcode(connection_.get());
  // A full disk undoes the transaction by itself.
  if (sqlite3_get_autocommit(connection_.get()) == 0) sqlite3_step(rollback_.get());
  sqlite3_reset(rollback_.get());
  const auto failed = failure(broken_ ? SQLITE_IOERR : code);
  if (calls.size() == 1 || broken_) {
    for (Call& call : calls) answer_once(call, failed);
    return;
  }
  // One at a time, so that what fits is not refused for what does not.
  for (Call& call : calls) run_changes({&call, 1});
}

bool SqliteDatabase::commit(std::span<Call> calls, std::vector<Result<Rows>>& results) {
  const auto run_once = [](const Prepared& statement) {
    const int code = sqlite3_step(statement.get());
    sqlite3_reset(statement.get());
    return code == SQLITE_DONE;
  };
  results.reserve(calls.size());
  if (broken_ || !in_place() || !run_once(begin_)) return false;
  for (const Call& call : calls)
    if (!results.emplace_back(step(call))) return false;
  // What went to a file that has lost its name is not kept. SQLite may have cut a long log short itself.
  if (!run_once(commit_) || !in_place(/*may_be_shorter=*/true)) return false;
  remember_files();
  return true;
}

void SqliteDatabase::checkpoint() {
  log_pages_ = 0;
  if (broken_ || !in_place()) return;
  const int code =
      sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK) static_cast<void>(failure(code));
  remember_files();
}

void SqliteDatabase::try_to_write() {
  if (healthy() || broken_ || !in_place()) return;
  const auto version = pragma("user_version");
  if (!version) return;
  const std::string sql = fmt::format("BEGIN IMMEDIATE; PRAGMA user_version = {}; COMMIT", *version);
  const bool good = execute(sql.c_str()).has_value();
  if (sqlite3_get_autocommit(connection_.get()) == 0) sqlite3_step(rollback_.get());
  sqlite3_reset(rollback_.get());
  if (!good) return;
  healthy_ = true;
  remember_files();
  log(LogLevel::info, "job_store_back");
}

bool SqliteDatabase::in_place(bool may_be_shorter) {
  for (const FileWitness* file : {&file_, &log_})
    if (const char* complaint = file->complaint(may_be_shorter); complaint && !broken_) give_up(complaint);
  return !broken_;
}

void SqliteDatabase::give_up(const char* why) {
  log(LogLevel::error, "job_store_lost", {{"error", why}});
  const std::lock_guard lock(listener_mutex_);
  broken_ = true;
  if (listener_) listener_();
}

void SqliteDatabase::when_broken(std::function<void()> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
  if (broken_ && listener_) listener_();
}

void SqliteDatabase::remember_files() {
  file_.remember();
  log_.remember();
  const std::int64_t pages = number(page_count_) - number(free_pages_);
  bytes_ = static_cast<std::uint64_t>(std::max<std::int64_t>(0, pages * page_bytes_));
}

std::int64_t SqliteDatabase::number(const Prepared& statement) {
  const StatementReset reset{statement.get()};
  return sqlite3_step(statement.get()) == SQLITE_ROW ? sqlite3_column_int64(statement.get(), 0) : 0;
}

Result<Rows> SqliteDatabase::step(const Call& call) {
  sqlite3_stmt* const statement = prepared_[static_cast<std::size_t>(call.name)].get();
  const StatementReset reset{statement};
  for (std::size_t i = 0; i < call.parameters.size(); ++i) {
    const auto& value = call.parameters[i];
    const int index = sqlite3_bind_parameter_index(statement, fmt::format("${}", i + 1).c_str());
    CHECK(index > 0);
    const int bound = value ? sqlite3_bind_text64(statement, index, value->data(), value->size(),
                                                  SQLITE_STATIC, SQLITE_UTF8)
                            : sqlite3_bind_null(statement, index);
    if (bound != SQLITE_OK) return failure(bound);
  }
  Rows rows;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    Values& row = rows.emplace_back();
    for (int column = 0; column < sqlite3_column_count(statement); ++column) {
      const bool absent = sqlite3_column_type(statement, column) == SQLITE_NULL;
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
      if (text == nullptr && !absent) return failure(SQLITE_NOMEM);
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, column));
      row.push_back(absent ? std::nullopt : std::optional(std::string(text, size)));
    }
  }
  if (code != SQLITE_DONE) return failure(code);
  return rows;
}

tl::unexpected<Error> SqliteDatabase::failure(int code) {
  healthy_ = false;
  log(LogLevel::error, "job_store_failed", {{"error", sqlite3_errstr(code)}, {"code", code}});
  // What the file holds is not known any more, and asking again would not tell.
  if (!broken_ && (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC))
    give_up("the disk did not confirm a write");
  const bool full = (code & 0xff) == SQLITE_FULL;
  Error error{ErrorCode::unavailable,
              full ? "the disk for jobs is full" : "the job store failed",
              {},
              full ? "storage_full" : "storage_failed"};
  error.retry_after = kDiskRetryAfter;
  return tl::unexpected(std::move(error));
}

}  // namespace diffused::jobstore
