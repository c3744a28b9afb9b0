#include "jobstore/postgres_schema.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "jobstore/statements.h"

namespace diffused::jobstore {
namespace {

// Servers that start at the same time take turns: any number that no other program locks.
constexpr std::int64_t kMigrationLock = 0x6469666675736564;  // "diffused"
constexpr std::chrono::seconds kSchemaRetryAfter{5};

// Every statement is to read an index whatever the planner has counted so far, and a plan of a moment ago is
// good now: rows come and go by the thousand. "202 means durable" is not for a database's default to decide.
constexpr const char* kSession =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan; SET "
    "jit = off;"
    "SET default_transaction_isolation = 'read committed'; SET standard_conforming_strings = on;"
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = "
    "'off'";

std::size_t number_in(const Rows& rows) {
  std::size_t number = 0;
  if (rows.empty() || rows.front().empty() || !rows.front().front()) return 0;
  const std::string& text = *rows.front().front();
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Result<Rows> ask(PostgresLink& link, const std::string& sql) {
  auto rows = link.execute(sql);
  if (!rows) return tl::unexpected(to_named_error(rows.error()));
  return *std::move(rows);
}

// Where there is nothing to do, a role will do that may not create tables.
Result<std::optional<Migration>> present_schema(PostgresLink& link) {
  TRY(const Rows there, ask(link, "SELECT 1 WHERE to_regclass('diffused_schema') IS NOT NULL"));
  if (there.empty()) return std::nullopt;
  TRY(const Rows version, ask(link, "SELECT max(version) FROM diffused_schema"));
  const std::size_t steps = migrations_for(Dialect::postgresql).size();
  if (number_in(version) != steps) return std::nullopt;
  return Migration{steps, steps};
}

Result<Migration> take_steps(PostgresLink& link) {
  TRY_VOID(ask(link, fmt::format("SELECT pg_advisory_xact_lock({})", kMigrationLock)));
  TRY_VOID(ask(link, "CREATE TABLE IF NOT EXISTS diffused_schema (version bigint NOT NULL)"));
  TRY(const Rows version, ask(link, "SELECT max(version) FROM diffused_schema"));
  const std::vector<std::string> steps = migrations_for(Dialect::postgresql);
  const std::size_t done = number_in(version);
  if (done > steps.size()) return newer_schema(done, steps.size());
  for (std::size_t step = done; step < steps.size(); ++step) {
    TRY_VOID(ask(link, steps[step]));
    TRY_VOID(ask(link, fmt::format("INSERT INTO diffused_schema VALUES ({})", step + 1)));
  }
  return Migration{done, steps.size()};
}

}  // namespace

std::string prepared_name(std::size_t index) { return fmt::format("s{}", index); }

Result<Migration> migrate(PostgresLink& link) {
  TRY(const Rows encoding, ask(link, "SHOW server_encoding"));
  if (encoding.at(0).at(0) != "UTF8")
    return fail(ErrorCode::unsupported, "the database's encoding must be UTF8");
  TRY(const std::optional<Migration> present, present_schema(link));
  if (present) return *present;
  TRY_VOID(ask(link, "SET client_min_messages = warning; BEGIN"));
  const auto taken = take_steps(link);
  const auto ended = ask(link, taken ? "COMMIT" : "ROLLBACK");
  if (!taken) return taken;
  TRY_VOID(ended);
  return taken;
}

Result<void> check_synchronous(PostgresLink& link) {
  TRY(const Rows rows, ask(link,
                           "SELECT current_setting('synchronous_standby_names'), "
                           "current_setting('synchronous_commit')"));
  if (rows.at(0).at(0).value_or("").empty())
    return fail(ErrorCode::unsupported,
                "--require-sync: the database has no synchronous standby "
                "(synchronous_standby_names is empty)");
  const std::string commit = rows.at(0).at(1).value_or("");
  if (commit == "off" || commit == "local")
    return fail(ErrorCode::unsupported,
                fmt::format("--require-sync: commits do not wait for the standby (synchronous_commit is {})",
                            commit));
  return {};
}

PostgresLink::Outcome<void> prepare_statements(PostgresLink& link) {
  if (auto set = link.execute(kSession); !set) return tl::unexpected(set.error());
  const auto statements = statements_for(Dialect::postgresql);
  for (std::size_t i = 0; i < kStatements; ++i)
    if (auto prepared = link.prepare(prepared_name(i), statements[i].sql); !prepared) return prepared;
  return link.prepare(kTell, "SELECT pg_notify('diffused', $1)");
}

PostgresLink::Outcome<void> make_ready(PostgresLink& link) {
  if (auto prepared = prepare_statements(link); !prepared) return prepared;
  if (auto listening = link.execute("LISTEN diffused"); !listening) return tl::unexpected(listening.error());
  return link.begin_pipeline();
}

Error to_error(const PostgresFailure& failure) {
  const bool full = failure.state == "53100";
  Error error{ErrorCode::unavailable,
              full ? "the disk for jobs is full" : "the job store failed",
              {},
              full ? "storage_full" : "storage_failed"};
  error.retry_after = kSchemaRetryAfter;
  return error;
}

Error to_named_error(const PostgresFailure& failure) {
  Error error = to_error(failure);
  if (!failure.text.empty()) error.message = failure.text;
  return error;
}

}  // namespace diffused::jobstore
