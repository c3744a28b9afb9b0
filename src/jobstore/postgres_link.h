// One connection to PostgreSQL by libpq: transactions sent one behind the other without waiting (pipeline
// mode), their outcomes read as they come. Every wait has an end: a server that says nothing for
// `answer_timeout` counts as lost. One thread at a time.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "jobstore/database.h"

namespace diffused::jobstore {

// What PostgreSQL, or the way to it, had against a transaction. For the log and for who starts the server;
// clients never see `text`.
struct PostgresFailure {
  std::string state;  // five letters and digits, as PostgreSQL's manual lists them; empty: none was told
  std::string text;   // one line
  bool lost = false;  // the connection is of no further use, and whether the work was done is not known
};

class PostgresLink {
 public:
  template <typename T>
  using Outcome = tl::expected<T, PostgresFailure>;

  // A prepared statement and its parameters, both of which must live until run() returns.
  struct Prepared {
    const char* name = nullptr;
    const Values* parameters = nullptr;
  };
  // Statements that happen together or not at all.
  using Transaction = std::vector<Prepared>;

  // Connects to where `url` (or a list of keyword=value) says, waiting `answer_timeout` at most for each
  // host that it names; the first one that takes changes, so not to a standby. `application_name` is what
  // PostgreSQL calls the connection, unless `url` says otherwise.
  static Outcome<std::unique_ptr<PostgresLink>> connect(const std::string& url,
                                                        std::chrono::milliseconds answer_timeout,
                                                        const std::string& application_name = "diffused");

  // One or more statements without parameters; the rows of the last. Before begin_pipeline only.
  Outcome<Rows> execute(const std::string& sql);
  Outcome<void> prepare(const std::string& name, const std::string& sql);

  // From now on run() and nothing else.
  Outcome<void> begin_pipeline();
  // Does the transactions in their order; the outcome of each is the rows of its statements, and durable.
  // One that fails does not keep the next ones from being tried, unless the connection was lost.
  std::vector<Outcome<std::vector<Rows>>> run(const std::vector<Transaction>& transactions);

  // To be waited on for reading while nothing is run; then consume() must be called. False: lost.
  int socket() const { return PQsocket(connection_.get()); }
  bool consume() { return PQconsumeInput(connection_.get()) == 1; }
  // What other connections have told (NOTIFY) since the last call.
  std::vector<std::string> heard();

 private:
  struct Close {
    void operator()(PGconn* connection) const { PQfinish(connection); }
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Answer = std::unique_ptr<PGresult, Close>;

  PostgresLink(PGconn* connection, std::chrono::milliseconds answer_timeout)
      : connection_(connection), answer_timeout_(answer_timeout) {}

  bool send(const Prepared& statement);
  Outcome<Answer> next();
  Outcome<std::vector<Rows>> receive(std::size_t statements);
  PostgresFailure failure(const PGresult* result) const;
  PostgresFailure lost(std::string_view why = {}) const;

  const std::unique_ptr<PGconn, Close> connection_;
  const std::chrono::milliseconds answer_timeout_;
};

}  // namespace diffused::jobstore
