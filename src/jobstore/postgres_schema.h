// What a fresh connection needs before it can be worked with.
#pragma once

#include "base/result.h"
#include "jobstore/postgres_link.h"

namespace diffused::jobstore {

// The versions of the schema before and after; 0 is no schema.
struct Migration {
  std::size_t from = 0;
  std::size_t to = 0;
};

// Brings the schema up to this version, if need be, as one of many servers that may do so at this moment;
// and checks that the database can keep what we promise. Errors: unsupported (made by a newer version, or of
// an encoding other than UTF8), unavailable.
Result<Migration> migrate(PostgresLink& link);

// Whether a commit waits for a standby, so that a failover loses nothing. Before anything else is done on the
// connection. Error: unsupported, naming the setting.
Result<void> check_synchronous(PostgresLink& link);

// The name under which statement number `index` is prepared, and that of "tell the other servers $1".
std::string prepared_name(std::size_t index);
constexpr const char* kTell = "tell";

// Sets the session up and prepares all statements.
PostgresLink::Outcome<void> prepare_statements(PostgresLink& link);
// The same, then begins to listen to other servers, and the pipeline.
PostgresLink::Outcome<void> make_ready(PostgresLink& link);

// The failure in our words. `named`: with PostgreSQL's own, for who starts a server and reads its console.
Error to_error(const PostgresFailure& failure);
Error to_named_error(const PostgresFailure& failure);

}  // namespace diffused::jobstore
