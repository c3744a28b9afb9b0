#include "jobstore/statements.h"

#include <fmt/format.h>

namespace diffused::jobstore {
namespace {

// What job_of (rows.h) reads. Rows of older servers do not say at which millisecond they came.
std::string columns(const Words& words) {
  return fmt::format(
      "seq, id, owner, pool, state, attempt, lease, spec, outcome, created, started, finished, expires, "
      "progress, worker, request_id, trace, priority, {} - CASE WHEN accepted > 0 THEN accepted ELSE created "
      "* 1000 "
      "END",
      words.now_milliseconds);
}

// How many of the next in line are looked through for jobs of the first one's batch key.
constexpr int kBatchWindow = 64;
constexpr int kExpiredAtOnce = 100;
constexpr int kReapedAtOnce = 100;
constexpr int kTrimmedAtOnce = 200;
constexpr int kPositionMax = 1000;
constexpr int kGivenUpAtOnce = 100;
constexpr int kServerForgottenSeconds = 7200;  // beyond any lease

// "Fewer than the parameter are queued"; 0: any number will do. The order names the index to count by.
std::string fewer_queued(const Words& words, std::string_view parameter, std::string_view whose,
                         std::string_view order) {
  return fmt::format(
      "(CAST({0} AS {1}) = 0 OR (SELECT count(*) FROM (SELECT share FROM job WHERE state = 'queued' AND {2} "
      "ORDER BY {3} LIMIT CAST({0} AS {1})) AS waiting) < CAST({0} AS {1}))",
      parameter, words.integer, whose, order);
}

std::string enqueue(const Words& words) {
  // A new job's share begins where its owner's last one ends, or where the running ones are. $11: how many of
  // the owner's may be queued; $12: of the pool's.
  return fmt::format(
      "INSERT INTO job (id, owner, pool, batch_key, priority, cost, spec, idempotency_key, request_hash, "
      "attempts_max, request_id, trace, created, accepted, share) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, "
      "$10, $13, $14, {now}, {now_ms}, "
      "(SELECT coalesce(max(s), 0) FROM (SELECT max(share) AS s FROM job WHERE state = 'queued' AND owner = "
      "$2 "
      "UNION ALL SELECT max(share) FROM job WHERE state = 'running') AS started) + $6 "
      "WHERE {own} AND {pool} ON CONFLICT (owner, idempotency_key) DO NOTHING RETURNING {columns}",
      fmt::arg("now", words.now_seconds), fmt::arg("now_ms", words.now_milliseconds),
      fmt::arg("columns", columns(words)), fmt::arg("own", fewer_queued(words, "$11", "owner = $2", "share")),
      fmt::arg("pool", fewer_queued(words, "$12", "pool = $3", "priority DESC, share, seq")));
}

// "seq is one of those": PostgreSQL is told to find these first, and not tempted to go through the table.
std::string among(const std::string& rows, Dialect dialect) {
  return dialect == Dialect::sqlite ? fmt::format("seq IN ({})", rows)
                                    : fmt::format("seq = ANY (ARRAY ({}))", rows);
}

// Which jobs of pool $1 may be claimed; `priority` is the parameter that says from which priority on.
std::string claimable(std::string_view priority) {
  return fmt::format(
      "state = 'queued' AND pool = $1 AND priority >= {} AND NOT EXISTS (SELECT 1 FROM pause WHERE pool IN "
      "($1, '*'))",
      priority);
}

// Those next in line that have the preferred batch key and the priority of the first; or the first one's.
std::string next_in_line(Dialect dialect) {
  const auto first = [](std::string_view columns, int rows) {
    return fmt::format("SELECT {} FROM job WHERE {} ORDER BY priority DESC, share, seq LIMIT {}", columns,
                       claimable("$6"), rows);
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
      words.now_seconds, words.tick_milliseconds, among(next_in_line(dialect), dialect), columns(words));
}

// Back to the queue, or to the end when no attempt is left: $1 is how long the job is kept then, $2 its
// outcome. `unused` attempts do not count.
std::string back(const Words& words, std::string_view unused) {
  const std::string last = fmt::format("attempt - {} >= attempts_max", unused);
  return fmt::format(
      "UPDATE job SET state = CASE WHEN {last} THEN 'failed' ELSE 'queued' END, attempt = attempt - "
      "{unused}, "
      "lease = lease + 1, lease_until = NULL, "
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
  return fmt::format("{} AND {} RETURNING {}", back(words, "0"), whose, columns(words));
}

// Those that have waited longest first; of those whom another server does not fail at this moment.
std::string give_up(const Words& words, Dialect dialect) {
  const std::string late = fmt::format(
      "SELECT seq FROM job WHERE state = 'queued' AND created <= {} - $3 ORDER BY created LIMIT {}{}",
      words.lifetime_seconds, kGivenUpAtOnce, dialect == Dialect::sqlite ? "" : " FOR UPDATE SKIP LOCKED");
  return fmt::format(
      "UPDATE job SET state = 'failed', lease = lease + 1, outcome = $1, finished = {0}, expires = {1} + $2 "
      "WHERE {2} AND state = 'queued' RETURNING {3}",
      words.now_seconds, words.lifetime_seconds, among(late, dialect), columns(words));
}

std::string list(const Words& words, std::string_view order, std::string_view beyond) {
  return fmt::format("SELECT {} FROM job WHERE owner = $1 AND seq {} $2 ORDER BY seq {} LIMIT $3",
                     columns(words), beyond, order);
}

// The last conditions hold always; they name the column of the index to count by.
std::string count(const Words& words) {
  return fmt::format(
      "SELECT pool, count(*), 0, coalesce(sum(cost), 0.0), {} - min(created) FROM job WHERE state = 'queued' "
      "AND pool >= '' GROUP BY pool UNION ALL SELECT pool, 0, count(*), 0.0, 0 FROM job WHERE state = "
      "'running' AND pool >= '' GROUP BY pool",
      words.now_seconds);
}

// Each state through the index that has its rows: by age where they are kept in that order.
std::string list_state(const Words& words) {
  const auto of = [&](std::string_view condition, std::string_view order) {
    return fmt::format(
        "SELECT * FROM (SELECT {} FROM job WHERE {} AND state = $1 ORDER BY {} LIMIT $2) AS {}",
        columns(words), condition, order, "one");
  };
  return of("state = 'queued' AND created >= 0", "created") + " UNION ALL " +
         of("state = 'running' AND lease_until >= 0", "lease_until") + " UNION ALL " +
         of("expires IS NOT NULL AND expires >= 0", "expires");
}

// PostgreSQL counts for itself. What other roles do is shown to members of pg_read_all_stats only.
std::string upkeep(Dialect dialect) {
  if (dialect == Dialect::sqlite) return "SELECT 0, 0";
  return "SELECT coalesce((SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'job' AND schemaname = "
         "current_schema()), 0), coalesce((SELECT extract(epoch from max(clock_timestamp() - "
         "xact_start))::bigint FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
         "pg_backend_pid()), 0)";
}

// What a server says beside it: that it is there itself. Only what is news is written.
std::string appear(const Words& words) {
  return fmt::format(
      "INSERT INTO server (name, model, seen) SELECT $1, $2, {now} WHERE NOT EXISTS (SELECT 1 FROM server "
      "WHERE name = $1 AND model = $2 AND seen > {now} - $3) ON CONFLICT (name, model) DO UPDATE SET seen = "
      "excluded.seen RETURNING name",
      fmt::arg("now", words.lifetime_seconds));
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

// What whoever runs the servers asks, and what these say of themselves.
std::string upkeep_sql_of(StatementName name, Dialect dialect) {
  const Words words = words_of(dialect);
  const auto format = [&](std::string_view text) {
    return fmt::format(fmt::runtime(text), fmt::arg("now", words.now_seconds),
                       fmt::arg("lasting", words.lifetime_seconds), fmt::arg("columns", columns(words)),
                       fmt::arg("server_forgotten", kServerForgottenSeconds));
  };
  switch (name) {
    case StatementName::appear:
      return appear(words);
    case StatementName::leave:
      return "DELETE FROM server WHERE name = $1 RETURNING name";
    case StatementName::servers:
      return format(
          "SELECT model.name, count(server.name) FROM model LEFT JOIN server ON server.model = model.name "
          "AND "
          "server.seen > {lasting} - $1 GROUP BY model.name");
    case StatementName::forget_servers:
      return format("DELETE FROM server WHERE seen <= {lasting} - {server_forgotten} RETURNING name");
    case StatementName::give_up:
      return give_up(words, dialect);
    case StatementName::list_state:
      return list_state(words);
    case StatementName::requeue:
      return format(
          "UPDATE job SET state = 'queued', attempt = 0, lease = lease + 1, lease_until = NULL, outcome = "
          "NULL, progress = 0, finished = NULL, expires = NULL WHERE id = $1 AND state IN ('running', "
          "'failed', 'cancelled') RETURNING {columns}");
    case StatementName::pause:
      return format(
          "INSERT INTO pause (pool, since) VALUES ($1, {now}) ON CONFLICT (pool) DO NOTHING RETURNING pool");
    case StatementName::resume:
      return "DELETE FROM pause WHERE pool = $1 RETURNING pool";
    case StatementName::paused:
      return "SELECT pool FROM pause ORDER BY pool";
    case StatementName::upkeep:
      return upkeep(dialect);
    case StatementName::trim:
      return trim(dialect);
    default:
      return count(words);
  }
}

std::string sql_of(StatementName name, Dialect dialect) {
  const Words words = words_of(dialect);
  const auto format = [&](std::string_view text) {
    return fmt::format(fmt::runtime(text), fmt::arg("now", words.now_seconds),
                       fmt::arg("lasting", words.lifetime_seconds), fmt::arg("tick", words.tick_milliseconds),
                       fmt::arg("columns", columns(words)), fmt::arg("position_max", kPositionMax),
                       fmt::arg("expired", kExpiredAtOnce));
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
      return fmt::format(
          "SELECT priority, share, seq FROM job WHERE {} ORDER BY priority DESC, share, seq LIMIT 1",
          claimable("$2"));
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
      return list(words, "DESC", "<");
    case StatementName::list_oldest:
      return list(words, "ASC", ">");
    case StatementName::position:
      return format(kPosition);
    case StatementName::announce:
      return format(kAnnounce);
    case StatementName::models:
      return format("SELECT name, description, added, {lasting} - seen FROM model ORDER BY seq");
    default:
      return upkeep_sql_of(name, dialect);
  }
}

}  // namespace

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
    case StatementName::servers:
    case StatementName::list_state:
    case StatementName::paused:
    case StatementName::upkeep:
      return false;
    default:
      return true;
  }
}

std::array<Statement, kStatements> statements_for(Dialect dialect) {
  std::array<Statement, kStatements> statements;
  for (std::size_t i = 0; i < kStatements; ++i) {
    const auto name = static_cast<StatementName>(i);
    const bool locks = dialect == Dialect::postgresql && name == StatementName::find_by_key;
    statements[i] = {name, locks || changes(name), sql_of(name, dialect)};
  }
  return statements;
}

}  // namespace diffused::jobstore
