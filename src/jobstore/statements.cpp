#include "jobstore/statements.h"

#include <fmt/format.h>

namespace diffused::jobstore {
namespace {

// What differs between the databases. Leases end by a clock that nobody sets, people see the time of day, and
// what is kept goes by neither: setting the clock must not end it. A database that many share has its own
// time.
struct Words {
  std::string now_seconds;
  std::string lifetime_seconds;
  std::string tick_milliseconds;
  std::string integer_key;
  std::string integer;
  std::string real;
  std::string table_end;
};

Words words_of(Dialect dialect) {
  if (dialect == Dialect::sqlite)
    return {"now_seconds()",
            "lifetime_seconds()",
            "tick_milliseconds()",
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "INTEGER",
            "REAL",
            "STRICT"};
  return {"extract(epoch from clock_timestamp())::bigint",
          "extract(epoch from clock_timestamp())::bigint",
          "(extract(epoch from clock_timestamp()) * 1000)::bigint",
          "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
          "bigint",
          "double precision",
          "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)"};
}

constexpr std::string_view kColumns =
    "seq, id, owner, pool, state, attempt, lease, spec, outcome, created, started, finished, expires, "
    "progress";

// How many of the next in line are looked through for jobs of the first one's batch key.
constexpr int kBatchWindow = 64;
constexpr int kExpiredAtOnce = 100;
constexpr int kReapedAtOnce = 100;
constexpr int kTrimmedAtOnce = 200;
constexpr int kPositionMax = 1000;
// Models that nobody has had for so long are gone.
constexpr int kForgottenSeconds = 3600;

std::string enqueue(const Words& words) {
  // A new job's share begins where its owner's last one ends, or where the running ones are. $11: how many of
  // the owner's may be queued; 0: any number. The order by share names the index to count by.
  return fmt::format(
      "INSERT INTO job (id, owner, pool, batch_key, priority, cost, spec, idempotency_key, request_hash, "
      "attempts_max, created, share) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, {now}, "
      "(SELECT coalesce(max(s), 0) FROM (SELECT max(share) AS s FROM job WHERE state = 'queued' AND owner = "
      "$2 "
      "UNION ALL SELECT max(share) FROM job WHERE state = 'running') AS started) + $6 "
      "WHERE CAST($11 AS {integer}) = 0 OR (SELECT count(*) FROM (SELECT share FROM job WHERE state = "
      "'queued' AND owner = $2 ORDER BY share LIMIT CAST($11 AS {integer})) AS own) < CAST($11 AS {integer}) "
      "ON CONFLICT (owner, idempotency_key) DO NOTHING RETURNING {columns}",
      fmt::arg("now", words.now_seconds), fmt::arg("columns", kColumns), fmt::arg("integer", words.integer));
}

// "seq is one of those": PostgreSQL is told to find these first, and not tempted to go through the table.
std::string among(const std::string& rows, Dialect dialect) {
  return dialect == Dialect::sqlite ? fmt::format("seq IN ({})", rows)
                                    : fmt::format("seq = ANY (ARRAY ({}))", rows);
}

// Those next in line that have the preferred batch key and the priority of the first; or the first one's.
std::string next_in_line(Dialect dialect) {
  const auto first = [](std::string_view columns, int rows) {
    return fmt::format(
        "SELECT {} FROM job WHERE state = 'queued' AND pool = $1 ORDER BY priority DESC, share, seq LIMIT {}",
        columns, rows);
  };
  constexpr std::string_view kKey =
      "coalesce((SELECT batch_key FROM {} AS preferred WHERE batch_key = $5 AND priority = ({}) LIMIT 1), "
      "({}))";
  if (dialect == Dialect::sqlite) {
    const std::string near = "(" + first("seq, batch_key, priority", kBatchWindow) + ")";
    return fmt::format("SELECT seq FROM {} AS near WHERE batch_key = {} LIMIT $2", near,
                       fmt::format(fmt::runtime(kKey), near, first("priority", 1), first("batch_key", 1)));
  }
  // Where several servers claim at once, a row that another is claiming is passed over.
  return fmt::format(
      "WITH near AS MATERIALIZED ({}) SELECT free.seq FROM near CROSS JOIN LATERAL (SELECT seq FROM job "
      "WHERE "
      "seq = near.seq AND state = 'queued' FOR UPDATE SKIP LOCKED) AS free WHERE near.batch_key = {} LIMIT "
      "$2",
      first("seq, batch_key, priority", kBatchWindow),
      fmt::format(fmt::runtime(kKey), "near", "SELECT priority FROM near LIMIT 1",
                  "SELECT batch_key FROM near LIMIT 1"));
}

std::string claim(const Words& words, Dialect dialect) {
  return fmt::format(
      "UPDATE job SET state = 'running', attempt = attempt + 1, lease = lease + 1, worker = $3, "
      "progress = 0, started = coalesce(started, {}), lease_until = {} + $4 WHERE {} RETURNING {}",
      words.now_seconds, words.tick_milliseconds, among(next_in_line(dialect), dialect), kColumns);
}

// Back to the queue, or to the end when no attempt is left: $1 is how long the job is kept then, $2 its
// outcome. `unused` attempts do not count.
std::string back(const Words& words, std::string_view unused) {
  const std::string last = fmt::format("attempt - {} >= attempts_max", unused);
  return fmt::format(
      "UPDATE job SET state = CASE WHEN {last} THEN 'failed' ELSE 'queued' END, attempt = attempt - "
      "{unused}, "
      "lease = lease + 1, lease_until = NULL, worker = NULL, "
      "outcome = CASE WHEN {last} THEN $2 END, finished = CASE WHEN {last} THEN {now} END, "
      "expires = CASE WHEN {last} THEN {lasting} + $1 END WHERE state = 'running' ",
      fmt::arg("last", last), fmt::arg("unused", unused), fmt::arg("now", words.now_seconds),
      fmt::arg("lasting", words.lifetime_seconds));
}

// Where several servers reap at once, each takes other rows, and none that is being renewed.
std::string reap(const Words& words, Dialect dialect) {
  const std::string late = fmt::format("lease_until < {} + $3", words.tick_milliseconds);
  const std::string whose =
      dialect == Dialect::sqlite
          ? late
          : among(fmt::format("SELECT seq FROM job WHERE state = 'running' AND {} ORDER BY lease_until LIMIT "
                              "{} FOR UPDATE SKIP LOCKED",
                              late, kReapedAtOnce),
                  dialect);
  return fmt::format("{} AND {} RETURNING seq", back(words, "0"), whose);
}

// Those that would expire first; in a store of one machine, which alone is trimmed, of the owner that keeps
// the most. SQLite takes the other columns from the row of the maximum, and so need not sort.
std::string trim(Dialect dialect) {
  const std::string_view whose =
      dialect == Dialect::sqlite
          ? " AND owner = (SELECT owner FROM (SELECT owner, max(jobs) FROM (SELECT owner, count(*) AS jobs "
            "FROM job WHERE expires IS NOT NULL GROUP BY owner)))"
          : "";
  return fmt::format(
      "DELETE FROM job WHERE {} RETURNING seq",
      among(fmt::format("SELECT seq FROM job WHERE expires IS NOT NULL{} ORDER BY expires LIMIT {}", whose,
                        kTrimmedAtOnce),
            dialect));
}

std::string list(std::string_view order, std::string_view beyond) {
  return fmt::format("SELECT {} FROM job WHERE owner = $1 AND seq {} $2 ORDER BY seq {} LIMIT $3", kColumns,
                     beyond, order);
}

// The place of a job in its queue. The job itself is found by its id: the index of what is queued is kept out
// of it.
constexpr std::string_view kPosition =
    "SELECT count(*) FROM (SELECT priority, share, seq FROM job WHERE state = 'queued' AND pool "
    "= (SELECT pool FROM job WHERE id = $1) ORDER BY priority DESC, share, seq LIMIT "
    "{position_max}) AS first WHERE (-priority, share, seq) < (SELECT -priority, share, seq "
    "FROM job WHERE id = $1 AND state || '' = 'queued')";

// Ten thousand servers say the same: only what is news takes the row's lock.
constexpr std::string_view kAnnounce =
    "INSERT INTO model (name, description, added, seen) SELECT $1, $2, {now}, {lasting} WHERE NOT EXISTS "
    "(SELECT 1 FROM model WHERE name = $1 AND description = $2 AND seen > {lasting} - $3) "
    "ON CONFLICT (name) DO UPDATE SET description = excluded.description, seen = excluded.seen "
    "RETURNING name";

constexpr std::string_view kModels =
    "SELECT name, description, added, {lasting} - seen FROM model WHERE seen > {lasting} - {forgotten} "
    "ORDER BY name";

std::string sql_of(StatementName name, Dialect dialect) {
  const Words words = words_of(dialect);
  const auto format = [&](std::string_view text) {
    return fmt::format(fmt::runtime(text), fmt::arg("now", words.now_seconds),
                       fmt::arg("lasting", words.lifetime_seconds), fmt::arg("tick", words.tick_milliseconds),
                       fmt::arg("columns", kColumns), fmt::arg("position_max", kPositionMax),
                       fmt::arg("expired", kExpiredAtOnce), fmt::arg("forgotten", kForgottenSeconds));
  };
  switch (name) {
    case StatementName::enqueue:
      return enqueue(words);
    case StatementName::find_by_key:
      // "It was accepted already" is a promise of its own. A lock is a change, which a standby has to confirm
      // where it is asked to, and with it the row: a primary that was cut off and crashed shows rows that
      // were never confirmed.
      return format("SELECT {columns}, request_hash FROM job WHERE owner = $1 AND idempotency_key = $2") +
             (dialect == Dialect::postgresql ? " FOR UPDATE" : "");
    case StatementName::find:
      return format("SELECT {columns} FROM job WHERE id = $1");
    case StatementName::head:
      return format(
          "SELECT priority, share, seq FROM job WHERE state = 'queued' AND pool = $1 "
          "ORDER BY priority DESC, share, seq LIMIT 1");
    case StatementName::claim:
      return claim(words, dialect);
    case StatementName::renew:
      return format(
          "UPDATE job SET lease_until = {tick} + $3, progress = $4 WHERE id = $1 AND lease = $2 AND state = "
          "'running' RETURNING seq");
    case StatementName::end:
      return format(
          "UPDATE job SET state = $3, outcome = $4, finished = {now}, expires = {lasting} + $5, "
          "lease_until = NULL WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING seq");
    case StatementName::give_back:
      return back(words, "$5") + "AND id = $3 AND lease = $4 RETURNING seq";
    case StatementName::reap:
      return reap(words, dialect);
    case StatementName::cancel:
      return format(
          "UPDATE job SET state = 'cancelled', lease = lease + 1, lease_until = NULL, finished = "
          "{now}, expires = {lasting} + $2 WHERE id = $1 AND state IN ('queued', 'running') RETURNING "
          "{columns}");
    case StatementName::remove:
      return format("DELETE FROM job WHERE id = $1 AND expires IS NOT NULL RETURNING {columns}");
    case StatementName::expire:
      return "DELETE FROM job WHERE " +
             among(format("SELECT seq FROM job WHERE expires <= {lasting} ORDER BY expires LIMIT {expired}"),
                   dialect) +
             " RETURNING seq";
    case StatementName::list_newest:
      return list("DESC", "<");
    case StatementName::list_oldest:
      return list("ASC", ">");
    case StatementName::position:
      return format(kPosition);
    case StatementName::announce:
      return format(kAnnounce);
    case StatementName::models:
      return format(kModels);
    case StatementName::forget_models:
      return format("DELETE FROM model WHERE seen <= {lasting} - {forgotten} RETURNING name");
    case StatementName::trim:
      return trim(dialect);
    case StatementName::count:
      break;
  }
  // The second conditions hold always; they name the column of the index to count by.
  return "SELECT count(*), (SELECT count(*) FROM job WHERE state = 'running' AND lease_until IS NOT NULL), "
         "coalesce(sum(cost), 0.0) FROM job WHERE state = 'queued' AND cost >= 0";
}

bool changes(StatementName name) {
  switch (name) {
    case StatementName::find_by_key:
    case StatementName::find:
    case StatementName::head:
    case StatementName::list_newest:
    case StatementName::list_oldest:
    case StatementName::position:
    case StatementName::count:
    case StatementName::models:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::array<Statement, kStatements> statements_for(Dialect dialect) {
  std::array<Statement, kStatements> statements;
  for (std::size_t i = 0; i < kStatements; ++i) {
    const auto name = static_cast<StatementName>(i);
    const bool locks = dialect == Dialect::postgresql && name == StatementName::find_by_key;
    statements[i] = {name, locks || changes(name), sql_of(name, dialect)};
  }
  return statements;
}

std::vector<std::string> migrations_for(Dialect dialect) {
  const Words words = words_of(dialect);
  std::vector<std::string> steps{
      fmt::format(
          R"sql(
CREATE TABLE job (
  seq             {integer_key},
  id              TEXT NOT NULL UNIQUE,
  owner           TEXT NOT NULL,
  pool            TEXT NOT NULL,
  batch_key       TEXT NOT NULL,
  priority        {integer} NOT NULL,
  share           {real} NOT NULL,    -- virtual time at which the owner's fair share allows it to be done
  cost            {real} NOT NULL,
  state           TEXT NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  attempt         {integer} NOT NULL DEFAULT 0,
  attempts_max    {integer} NOT NULL,
  lease           {integer} NOT NULL DEFAULT 0,
  lease_until     {integer},
  worker          TEXT,
  idempotency_key TEXT,
  request_hash    TEXT NOT NULL,
  spec            TEXT NOT NULL,
  outcome         TEXT,
  created         {integer} NOT NULL,
  started         {integer},
  finished        {integer},
  expires         {integer},
  UNIQUE (owner, idempotency_key),
  CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CHECK ((state IN ('queued', 'running')) = (finished IS NULL)),
  CHECK ((finished IS NULL) = (expires IS NULL))
) {table_end};
CREATE INDEX job_ready ON job (pool, priority DESC, share, seq) WHERE state = 'queued';
CREATE INDEX job_share ON job (owner, share) WHERE state = 'queued';
CREATE INDEX job_lease ON job (lease_until, share) WHERE state = 'running';
CREATE INDEX job_expiry ON job (expires) WHERE expires IS NOT NULL;
CREATE INDEX job_owner ON job (owner, seq);
)sql",
          fmt::arg("integer_key", words.integer_key), fmt::arg("integer", words.integer),
          fmt::arg("real", words.real), fmt::arg("table_end", words.table_end)),
      fmt::format("ALTER TABLE job ADD COLUMN progress {} NOT NULL DEFAULT 0;", words.integer),
      "CREATE INDEX job_cost ON job (cost) WHERE state = 'queued';",
      // A new job's share begins at the largest of those that run, which ten thousand workers make many.
      "DROP INDEX job_lease; CREATE INDEX job_lease ON job (lease_until) WHERE state = 'running';"
      "CREATE INDEX job_running ON job (share) WHERE state = 'running';",
      fmt::format("CREATE TABLE model (name TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL, "
                  "added {0} NOT NULL, seen {0} NOT NULL) {1};",
                  words.integer, dialect == Dialect::sqlite ? "STRICT" : "")};
  // What trim() counts by.
  if (dialect == Dialect::sqlite)
    steps.push_back("CREATE INDEX job_ended ON job (owner, expires) WHERE expires IS NOT NULL;");
  return steps;
}

}  // namespace diffused::jobstore
