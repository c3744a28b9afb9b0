// The schema, from an empty database to the present one.
#include <fmt/format.h>

#include "jobstore/statements.h"
#include "jobstore/words.h"

namespace diffused::jobstore {

tl::unexpected<Error> newer_schema(std::size_t version, std::size_t known) {
  return fail(ErrorCode::unsupported,
              fmt::format("the job database was made by a newer version: its tables are of version {}, this "
                          "program knows those up to {}",
                          version, known));
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
                  words.integer, dialect == Dialect::sqlite ? "STRICT" : ""),
      // Who asked and when to the millisecond; which servers there are; what waits, by model.
      fmt::format("ALTER TABLE job ADD COLUMN accepted {0} NOT NULL DEFAULT 0;"
                  "ALTER TABLE job ADD COLUMN request_id TEXT;"
                  "ALTER TABLE job ADD COLUMN trace TEXT;"
                  "DROP INDEX job_cost;"
                  "CREATE INDEX job_waiting ON job (pool, cost, created) WHERE state = 'queued';"
                  "CREATE INDEX job_age ON job (created) WHERE state = 'queued';"
                  "CREATE INDEX job_running_pool ON job (pool) WHERE state = 'running';"
                  "CREATE TABLE server (name TEXT NOT NULL, model TEXT NOT NULL, seen {0} NOT NULL, "
                  "PRIMARY KEY (name, model)) {1};"
                  "CREATE TABLE pause (pool TEXT NOT NULL PRIMARY KEY, since {0} NOT NULL) {1};",
                  words.integer, dialect == Dialect::sqlite ? "STRICT" : "")};
  // What trim() counts by.
  if (dialect == Dialect::sqlite)
    steps.push_back("CREATE INDEX job_ended ON job (owner, expires) WHERE expires IS NOT NULL;");
  // The order in which models came: two may come in one second.
  steps.push_back(
      fmt::format("CREATE TABLE model_in_order (seq {0}, name TEXT NOT NULL UNIQUE, description TEXT NOT "
                  "NULL, added {1} NOT NULL, seen {1} NOT NULL) {2};"
                  "INSERT INTO model_in_order (name, description, added, seen) "
                  "SELECT name, description, added, seen FROM model ORDER BY added, name;"
                  "DROP TABLE model; ALTER TABLE model_in_order RENAME TO model;",
                  words.integer_key, words.integer, dialect == Dialect::sqlite ? "STRICT" : ""));
  return steps;
}

}  // namespace diffused::jobstore
