#include "jobstore/postgres_link.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace diffused::jobstore {
namespace {

// libpq's messages are sentences over several lines; the first says what happened.
std::string first_line(const char* text) {
  const std::string_view whole = text == nullptr ? "" : text;
  return std::string(whole.substr(0, whole.find('\n')));
}

Rows rows_of(const PGresult* result) {
  Rows rows(static_cast<std::size_t>(PQntuples(result)));
  for (int row = 0; row < PQntuples(result); ++row) {
    Values& values = rows[static_cast<std::size_t>(row)];
    for (int column = 0; column < PQnfields(result); ++column) {
      if (PQgetisnull(result, row, column) == 1)
        values.emplace_back();
      else
        values.emplace_back(std::string(PQgetvalue(result, row, column),
                                        static_cast<std::size_t>(PQgetlength(result, row, column))));
    }
  }
  return rows;
}

}  // namespace

PostgresLink::Outcome<std::unique_ptr<PostgresLink>> PostgresLink::connect(
    const std::string& url, std::chrono::milliseconds answer_timeout, const std::string& application_name) {
  const std::string seconds = std::to_string(std::chrono::ceil<std::chrono::seconds>(answer_timeout).count());
  // What stands in the URL comes after these and so has the last word.
  const std::array<const char*, 7> keywords{"fallback_application_name",
                                            "connect_timeout",
                                            "client_encoding",
                                            "tcp_user_timeout",
                                            "target_session_attrs",
                                            "dbname",
                                            nullptr};
  const std::string milliseconds = std::to_string(answer_timeout.count());
  const std::array<const char*, 7> values{application_name.c_str(),
                                          seconds.c_str(),
                                          "UTF8",
                                          milliseconds.c_str(),
                                          "read-write",
                                          url.c_str(),
                                          nullptr};
  std::unique_ptr<PostgresLink> link(
      new PostgresLink(PQconnectdbParams(keywords.data(), values.data(), 1), answer_timeout));
  if (PQstatus(link->connection_.get()) != CONNECTION_OK || PQsetnonblocking(link->connection_.get(), 1) != 0)
    return tl::unexpected(link->lost());
  // Notices are no failures, and stderr is the log's.
  PQsetNoticeProcessor(
      link->connection_.get(), [](void*, const char*) {}, nullptr);
  return link;
}

PostgresFailure PostgresLink::failure(const PGresult* result) const {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return {state == nullptr ? "" : state, first_line(PQresultErrorMessage(result)),
          PQstatus(connection_.get()) != CONNECTION_OK};
}

PostgresFailure PostgresLink::lost(std::string_view why) const {
  return {{}, why.empty() ? first_line(PQerrorMessage(connection_.get())) : std::string(why), true};
}

// The next result, null where libpq ends a statement's results.
PostgresLink::Outcome<PostgresLink::Answer> PostgresLink::next() {
  PGconn* const connection = connection_.get();
  const auto deadline = std::chrono::steady_clock::now() + answer_timeout_;
  while (PQisBusy(connection) == 1) {
    const int unsent = PQflush(connection);
    if (unsent < 0) return tl::unexpected(lost());
    pollfd waiting{PQsocket(connection), static_cast<short>(POLLIN | (unsent > 0 ? POLLOUT : 0)), 0};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return tl::unexpected(lost("the database does not answer"));
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return tl::unexpected(lost("the connection cannot be waited for"));
    if (ready > 0 && PQconsumeInput(connection) == 0) return tl::unexpected(lost());
  }
  return Answer(PQgetResult(connection));
}

PostgresLink::Outcome<Rows> PostgresLink::execute(const std::string& sql) {
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) return tl::unexpected(lost());
  Outcome<Rows> outcome;
  while (true) {
    auto answer = next();
    if (!answer) return tl::unexpected(answer.error());
    if (*answer == nullptr) return outcome;
    const ExecStatusType status = PQresultStatus(answer->get());
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
      if (outcome) outcome = rows_of(answer->get());
    } else {
      outcome = tl::unexpected(failure(answer->get()));
    }
  }
}

PostgresLink::Outcome<void> PostgresLink::prepare(const std::string& name, const std::string& sql) {
  if (PQsendPrepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr) == 0)
    return tl::unexpected(lost());
  Outcome<void> outcome;
  while (true) {
    auto answer = next();
    if (!answer) return tl::unexpected(answer.error());
    if (*answer == nullptr) return outcome;
    if (PQresultStatus(answer->get()) != PGRES_COMMAND_OK) outcome = tl::unexpected(failure(answer->get()));
  }
}

PostgresLink::Outcome<void> PostgresLink::begin_pipeline() {
  if (PQenterPipelineMode(connection_.get()) == 0) return tl::unexpected(lost());
  return {};
}

bool PostgresLink::send(const Prepared& statement) {
  std::vector<const char*> values;
  for (const auto& value : *statement.parameters) values.push_back(value ? value->c_str() : nullptr);
  return PQsendQueryPrepared(connection_.get(), statement.name, static_cast<int>(values.size()),
                             values.data(), nullptr, nullptr, 0) == 1;
}

std::vector<PostgresLink::Outcome<std::vector<Rows>>> PostgresLink::run(
    const std::vector<Transaction>& transactions) {
  std::vector<Outcome<std::vector<Rows>>> outcomes(transactions.size(), tl::unexpected(lost()));
  for (const Transaction& transaction : transactions) {
    for (const Prepared& statement : transaction)
      if (!send(statement)) return outcomes;
    if (PQpipelineSync(connection_.get()) == 0) return outcomes;
  }
  for (std::size_t i = 0; i < transactions.size(); ++i) {
    outcomes[i] = receive(transactions[i].size());
    if (!outcomes[i] && outcomes[i].error().lost) {
      std::fill(outcomes.begin() + static_cast<std::ptrdiff_t>(i), outcomes.end(), outcomes[i]);
      break;
    }
  }
  return outcomes;
}

// What came of one transaction. It ends at its sync point: until then nothing of it is durable, whatever its
// statements answered.
PostgresLink::Outcome<std::vector<Rows>> PostgresLink::receive(std::size_t statements) {
  Outcome<std::vector<Rows>> outcome;
  outcome->reserve(statements);
  while (true) {
    auto answer = next();
    if (!answer) return tl::unexpected(answer.error());
    if (*answer == nullptr) {
      // It ends a statement's results; of a lost connection nothing else comes any more.
      if (PQstatus(connection_.get()) != CONNECTION_OK) return tl::unexpected(lost());
      continue;
    }
    switch (PQresultStatus(answer->get())) {
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
        if (outcome) outcome->push_back(rows_of(answer->get()));
        break;
      case PGRES_PIPELINE_SYNC:
        return outcome;
      case PGRES_PIPELINE_ABORTED:
        break;  // the statement before it has told why
      default:
        if (outcome) outcome = tl::unexpected(failure(answer->get()));
    }
  }
}

std::vector<std::string> PostgresLink::heard() {
  std::vector<std::string> messages;
  while (PGnotify* const raw = PQnotifies(connection_.get())) {
    const std::unique_ptr<PGnotify, decltype(&PQfreemem)> notice(raw, PQfreemem);
    if (notice->be_pid != PQbackendPID(connection_.get())) messages.emplace_back(notice->extra);
  }
  return messages;
}

}  // namespace diffused::jobstore
