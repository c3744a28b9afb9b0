// The statements of the job store: the state machine itself, once, in the words of each database.
#pragma once

#include <array>
#include <string>
#include <vector>

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
  forget_models,
  trim,
};
constexpr std::size_t kStatements = 20;

struct Statement {
  StatementName name{};
  bool changes = true;
  std::string sql;  // $1, $2, … are its parameters
};

enum class Dialect { sqlite, postgresql };

// In the order of StatementName.
std::array<Statement, kStatements> statements_for(Dialect dialect);

// The steps from an empty database to the present schema, each for one transaction; the number of steps taken
// is the schema's version.
std::vector<std::string> migrations_for(Dialect dialect);

}  // namespace diffused::jobstore
