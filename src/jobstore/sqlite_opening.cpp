// How a SqliteDatabase comes and goes.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "jobstore/sqlite_database.h"

namespace diffused::jobstore {
namespace {

constexpr std::int64_t kApplicationId = 0x64667364;  // "dfsd": what file(1) and we know the file by

void now_seconds(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_int64(context, static_cast<const Clock*>(sqlite3_user_data(context))->unix_seconds());
}

void now_milliseconds(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_int64(context, static_cast<const Clock*>(sqlite3_user_data(context))->unix_milliseconds());
}

void lifetime_seconds(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_int64(context, static_cast<const Clock*>(sqlite3_user_data(context))->lifetime_seconds());
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

// Called after each commit: the log is written back when that holds up no reply, and its outcome is looked
// at.
int note_log_pages(void* pages, sqlite3*, const char*, int count) {
  *static_cast<int*>(pages) = count;
  return SQLITE_OK;
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
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(lock, file, calls_waiting_max));
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
  database->remember_files();
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
  if (connection_) close_log();
  for (Prepared& statement : prepared_) statement.reset();
  begin_.reset();
  commit_.reset();
  rollback_.reset();
  page_count_.reset();
  free_pages_.reset();
  connection_.reset();
  ::close(lock_);
}

// Writes the log back. Not where nothing is promised any more: a log of that name may be another's by now.
void SqliteDatabase::close_log() {
  sqlite3* const raw = connection_.get();
  if (!broken_) {
    sqlite3_wal_checkpoint_v2(raw, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    return;
  }
  int keep = 1;
  sqlite3_file_control(raw, nullptr, SQLITE_FCNTL_PERSIST_WAL, &keep);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
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
      !add_function(raw, "lifetime_seconds", clock, lifetime_seconds) ||
      !add_function(raw, "tick_milliseconds", clock, tick_milliseconds))
    return fail(ErrorCode::internal, "the database takes no functions");
  // First of all, so that the index of the log is kept in memory: a mapped file that somebody cuts short
  // would end the process.
  TRY_VOID(execute("PRAGMA locking_mode = EXCLUSIVE"));
  TRY(const std::int64_t application, pragma("application_id"));
  TRY(const std::int64_t version, pragma("user_version"));
  TRY(const std::int64_t pages, pragma("page_count"));
  if (pages > 0 && application != kApplicationId)
    return fail(ErrorCode::data_loss, "the file is not a job database of diffused");
  const std::size_t known = migrations_for(Dialect::sqlite).size();
  if (version > static_cast<std::int64_t>(known))
    return newer_schema(static_cast<std::size_t>(version), known);
  TRY_VOID(
      execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
              "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
              "PRAGMA journal_size_limit = 67108864; PRAGMA quick_check"));
  sqlite3_wal_hook(raw, note_log_pages, &log_pages_);
  TRY(page_bytes_, pragma("page_size"));
  return {};
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
  // What there is stands in the file itself, should its log be lost.
  return execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

Result<void> SqliteDatabase::prepare() {
  const auto make = [this](const std::string& sql, Prepared& prepared) -> Result<void> {
    sqlite3_stmt* raw = nullptr;
    const int code =
        sqlite3_prepare_v3(connection_.get(), sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    prepared.reset(raw);
    CHECK_WITH(code != SQLITE_ERROR, fmt::format("{}: {}", sqlite3_errmsg(connection_.get()), sql));
    if (code != SQLITE_OK) return failure(code);
    return {};
  };
  const auto statements = statements_for(Dialect::sqlite);
  for (std::size_t i = 0; i < kStatements; ++i) {
    TRY_VOID(make(statements[i].sql, prepared_[i]));
    changes_[i] = statements[i].changes;
  }
  TRY_VOID(make("BEGIN IMMEDIATE", begin_));
  TRY_VOID(make("COMMIT", commit_));
  TRY_VOID(make("ROLLBACK", rollback_));
  TRY_VOID(make("PRAGMA page_count", page_count_));
  return make("PRAGMA freelist_count", free_pages_);
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

}  // namespace diffused::jobstore
