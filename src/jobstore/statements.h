// The statements of the job store: the state machine itself, once, in the words of each database.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/result.h"
#include "jobstore/words.h"

namespace diffused::jobstore {

enum class StatementName {
  enqueue,
  find_by_key,
  find,
  head,
  claim,
  renew,
  end,
  give_back,
  reap,
  cancel,
  remove,
  expire,
  list_newest,
  list_oldest,
  position,
  count,
  announce,
  models,
  appear,
  leave,
  servers,
  forget_servers,
  give_up,
  list_state,
  requeue,
  pause,
  resume,
  paused,
  upkeep,
  trim,
};
constexpr std::size_t kStatements = 30;

struct Statement {
  StatementName name{};
  bool changes = true;
  std::string sql;  // $1, $2, … are its parameters
};

// Whether it is to change rows.
bool changes(StatementName name);

// In the order of StatementName.
std::array<Statement, kStatements> statements_for(Dialect dialect);

// The error of a schema that this program does not know.
tl::unexpected<Error> newer_schema(std::size_t version, std::size_t known);

// The steps from an empty database to the present schema, each for one transaction; the number of steps taken
// is the schema's version.
std::vector<std::string> migrations_for(Dialect dialect);

}  // namespace diffused::jobstore
