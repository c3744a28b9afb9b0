#include "jobstore/sqlite_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

namespace diffused::jobstore {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kApplicationId = 0x64667364;  // "dfsd": what file(1) and we know the file by
constexpr auto kDiskRetryAfter = 5s;

void now_seconds(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_int64(context, static_cast<const Clock*>(sqlite3_user_data(context))->unix_seconds());
}

void now_milliseconds(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_int64(context, static_cast<const Clock*>(sqlite3_user_data(context))->unix_milliseconds());
}

void tick_milliseconds(sqlite3_context* context, int, sqlite3_value**) {
  const auto now = static_cast<const Clock*>(sqlite3_user_data(context))->now().time_since_epoch();
  sqlite3_result_int64(context, std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

bool add_function(sqlite3* connection, const char* name, const Clock& clock,
                  void (*function)(sqlite3_context*, int, sqlite3_value**)) {
  return sqlite3_create_function_v2(connection, name, 0, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                    const_cast<Clock*>(&clock), function, nullptr, nullptr,
                                    nullptr) == SQLITE_OK;
}

}  // namespace

Result<std::unique_ptr<SqliteDatabase>> SqliteDatabase::open(const std::filesystem::path& file,
                                                             std::size_t calls_waiting_max,
                                                             const Clock& clock) {
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  const std::string lock_file = file.string() + ".lock";
  const int lock = ::open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) return fail(ErrorCode::invalid_argument, fmt::format("{}: cannot be opened", lock_file));
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(lock, calls_waiting_max));
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::unavailable,
                fmt::format("{}: another server keeps its jobs there", file.string()));
  const auto named = [&](Error error) {
    error.message = fmt::format("{}: {}", file.string(), error.message);
    return tl::unexpected(std::move(error));
  };
  if (auto connected = database->connect(file, clock); !connected) return named(connected.error());
  if (auto migrated = database->migrate(); !migrated) return named(migrated.error());
  if (auto prepared = database->prepare(); !prepared) return named(prepared.error());
  database->thread_ = std::thread([raw = database.get()] { raw->work(); });
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (connection_)
    sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  for (Prepared& statement : prepared_) statement.reset();
  begin_.reset();
  commit_.reset();
  rollback_.reset();
  connection_.reset();
  ::close(lock_);
}

Result<void> SqliteDatabase::connect(const std::filesystem::path& file, const Clock& clock) {
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(file.c_str(), &raw,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                         SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
                                     nullptr);
  connection_.reset(raw);
  if (opened != SQLITE_OK) return fail(ErrorCode::invalid_argument, "the database cannot be opened");
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (!add_function(raw, "now_seconds", clock, now_seconds) ||
      !add_function(raw, "now_milliseconds", clock, now_milliseconds) ||
      !add_function(raw, "tick_milliseconds", clock, tick_milliseconds))
    return fail(ErrorCode::internal, "the database takes no functions");
  TRY(const std::int64_t application, pragma("application_id"));
  TRY(const std::int64_t version, pragma("user_version"));
  TRY(const std::int64_t pages, pragma("page_count"));
  if (pages > 0 && application != kApplicationId)
    return fail(ErrorCode::data_loss, "the file is not a job database of diffused");
  const std::size_t known = migrations_for(Dialect::sqlite).size();
  if (version > static_cast<std::int64_t>(known))
    return newer_schema(static_cast<std::size_t>(version), known);
  return execute(
      "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
      "PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 1000; PRAGMA quick_check");
}

Result<void> SqliteDatabase::migrate() {
  const std::vector<std::string> steps = migrations_for(Dialect::sqlite);
  TRY(const std::int64_t version, pragma("user_version"));
  for (std::size_t done = static_cast<std::size_t>(version); done < steps.size(); ++done) {
    const std::string sql =
        fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version = {}; PRAGMA application_id = {}; COMMIT",
                    steps[done], done + 1, kApplicationId);
    TRY_VOID(execute(sql.c_str()));
  }
  return {};
}

Result<void> SqliteDatabase::prepare() {
  const auto make = [this](const std::string& sql, Prepared& prepared) {
    sqlite3_stmt* raw = nullptr;
    const int code =
        sqlite3_prepare_v3(connection_.get(), sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    prepared.reset(raw);
    CHECK_WITH(code == SQLITE_OK, fmt::format("{}: {}", sqlite3_errmsg(connection_.get()), sql));
  };
  const auto statements = statements_for(Dialect::sqlite);
  for (std::size_t i = 0; i < kStatements; ++i) {
    make(statements[i].sql, prepared_[i]);
    changes_[i] = statements[i].changes;
  }
  make("BEGIN IMMEDIATE", begin_);
  make("COMMIT", commit_);
  make("ROLLBACK", rollback_);
  return {};
}

// One or more statements; the first column of a row other than "ok" is quick_check's finding.
Result<void> SqliteDatabase::execute(const char* sql) {
  const auto row = [](void* damaged, int columns, char** values, char** names) {
    if (columns == 1 && std::string_view(names[0]) == "quick_check")
      *static_cast<bool*>(damaged) = std::string_view(values[0]) != "ok";
    return 0;
  };
  bool damaged = false;
  const int code = sqlite3_exec(connection_.get(), sql, row, &damaged, nullptr);
  if (damaged || (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
    return fail(ErrorCode::data_loss, "the job database is damaged");
  if (code != SQLITE_OK) return failure(code);
  return {};
}

Result<std::int64_t> SqliteDatabase::pragma(const char* name) {
  sqlite3_stmt* raw = nullptr;
  const std::string sql = fmt::format("PRAGMA {}", name);
  const int code = sqlite3_prepare_v2(connection_.get(), sql.c_str(), -1, &raw, nullptr);
  const Prepared statement(raw);
  if (code == SQLITE_OK && sqlite3_step(raw) == SQLITE_ROW) return sqlite3_column_int64(raw, 0);
  return fail(ErrorCode::data_loss, "the file is not a job database, or it is damaged");
}

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
  while (true) {
    std::vector<Call> changes, questions;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      for (Call& call : waiting_)
        (changes_[static_cast<std::size_t>(call.name)] ? changes : questions).push_back(std::move(call));
      waiting_.clear();
    }
    if (!changes.empty()) run_changes(changes);
    // After the changes, so that an answer never tells of what a crash could still undo.
    for (Call& call : questions) call.reply(step(call));
  }
}

void SqliteDatabase::run_changes(std::vector<Call>& calls) {
  const auto run_once = [](const Prepared& statement) {
    const int code = sqlite3_step(statement.get());
    sqlite3_reset(statement.get());
    return code == SQLITE_DONE;
  };
  std::vector<Result<Rows>> results;
  bool good = !broken_ && run_once(begin_);
  for (std::size_t i = 0; good && i < calls.size(); ++i) {
    results.push_back(step(calls[i]));
    good = results.back().has_value();
  }
  good = good && run_once(commit_);
  if (good) {
    for (const Result<Rows>& result : results) healthy_ = healthy_ || !result->empty();
    for (std::size_t i = 0; i < calls.size(); ++i) calls[i].reply(std::move(results[i]));
    return;
  }
  const int code = sqlite3_extended_errcode(connection_.get());
  // A full disk undoes the transaction by itself.
  if (sqlite3_get_autocommit(connection_.get()) == 0) run_once(rollback_);
  const auto failed = failure(code);
  if (calls.size() == 1 || broken_) {
    for (Call& call : calls) call.reply(failed);
    return;
  }
  // One at a time, so that what fits is not refused for what does not.
  for (Call& call : calls) {
    std::vector<Call> alone;
    alone.push_back(std::move(call));
    run_changes(alone);
  }
}

Result<Rows> SqliteDatabase::step(const Call& call) {
  sqlite3_stmt* const statement = prepared_[static_cast<std::size_t>(call.name)].get();
  for (std::size_t i = 0; i < call.parameters.size(); ++i) {
    const auto& value = call.parameters[i];
    const int index = sqlite3_bind_parameter_index(statement, fmt::format("${}", i + 1).c_str());
    CHECK(index > 0);
    const int bound = value ? sqlite3_bind_text64(statement, index, value->data(), value->size(),
                                                  SQLITE_STATIC, SQLITE_UTF8)
                            : sqlite3_bind_null(statement, index);
    CHECK(bound == SQLITE_OK);
  }
  Rows rows;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    Values& row = rows.emplace_back();
    for (int column = 0; column < sqlite3_column_count(statement); ++column) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, column));
      row.push_back(text == nullptr ? std::nullopt : std::optional(std::string(text, size)));
    }
  }
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (code != SQLITE_DONE) return failure(code);
  return rows;
}

tl::unexpected<Error> SqliteDatabase::failure(int code) {
  healthy_ = false;
  if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC) broken_ = true;
  log(LogLevel::error, "job_store_failed", {{"error", sqlite3_errstr(code)}, {"code", code}});
  const bool full = (code & 0xff) == SQLITE_FULL;
  Error error{ErrorCode::unavailable,
              full ? "the disk for jobs is full" : "the job store failed",
              {},
              full ? "storage_full" : "storage_failed"};
  error.retry_after = kDiskRetryAfter;
  return tl::unexpected(std::move(error));
}

}  // namespace diffused::jobstore
