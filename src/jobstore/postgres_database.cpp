#include "jobstore/postgres_database.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "jobstore/postgres_schema.h"

namespace diffused::jobstore {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

// A transaction is not to hold its rows for longer than some milliseconds.
constexpr std::size_t kGroupMax = 256;
// Deadlocks and the like: another try may well succeed.
constexpr int kTriesAlone = 3;
// NOTIFY takes one lock for the whole database at commit: hints go together, twenty times a second.
constexpr auto kTellInterval = 50ms;
constexpr std::size_t kMessagesMax = 1000;
constexpr std::size_t kMessageBytesMax = 7900;  // PostgreSQL takes up to 7,999

bool may_pass(const PostgresFailure& failure) {
  return failure.state == "40P01" || failure.state == "40001" || failure.state == "55P03";
}

Result<void> check_address(const std::string& url) {
  char* complaint = nullptr;
  PQconninfoOption* const parsed = PQconninfoParse(url.c_str(), &complaint);
  const bool good = parsed != nullptr;
  PQconninfoFree(parsed);
  PQfreemem(complaint);
  if (!good)
    return fail(ErrorCode::invalid_argument,
                "that is no address of a database: it must be like postgresql://user@host/name", "--store");
  return {};
}

}  // namespace

Result<Migration> migrate_postgres(const std::string& url, PostgresOptions options) {
  TRY_VOID(check_address(url));
  auto link = PostgresLink::connect(url, options.answer_timeout, options.application_name);
  if (!link) return tl::unexpected(to_named_error(link.error()));
  return migrate(**link);
}

Result<std::unique_ptr<PostgresDatabase>> PostgresDatabase::open(const std::string& url,
                                                                 PostgresOptions options) {
  TRY_VOID(check_address(url));
  TRY(auto link, connect(url, options));
  return std::unique_ptr<PostgresDatabase>(new PostgresDatabase(url, options, std::move(link)));
}

// A connection to work with.
Result<std::unique_ptr<PostgresLink>> PostgresDatabase::connect(const std::string& url,
                                                                const PostgresOptions& options) {
  auto link = PostgresLink::connect(url, options.answer_timeout, options.application_name);
  if (!link) return tl::unexpected(to_named_error(link.error()));
  if (options.require_sync) {
    TRY_VOID(check_synchronous(**link));
  }
  TRY_VOID(migrate(**link));
  if (auto ready = make_ready(**link); !ready) return tl::unexpected(to_named_error(ready.error()));
  return *std::move(link);
}

PostgresDatabase::PostgresDatabase(std::string url, PostgresOptions options,
                                   std::unique_ptr<PostgresLink> link)
    : url_(std::move(url)),
      options_(options),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      link_(std::move(link)),
      chance_(static_cast<unsigned>(::getpid())) {
  CHECK(wake_ >= 0);
  const auto statements = statements_for(Dialect::postgresql);
  for (std::size_t i = 0; i < kStatements; ++i) {
    changes_[i] = statements[i].changes;
    names_[i] = prepared_name(i);
  }
  thread_ = std::thread([this] { work(); });
}

PostgresDatabase::~PostgresDatabase() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake();
  thread_.join();
  ::close(wake_);
}

void PostgresDatabase::wake() const {
  const std::uint64_t one = 1;
  // It can only fail because it is set already.
  static_cast<void>(!::write(wake_, &one, sizeof one));
}

void PostgresDatabase::run(StatementName name, Values parameters, Reply<Rows> reply) {
  Error refusal{ErrorCode::overloaded, "the job store is busy", {}, "job_store_busy"};
  refusal.retry_after = 5s;
  {
    const std::lock_guard lock(mutex_);
    if (!connected_) {
      refusal = to_error({});
    } else if (waiting_.size() < options_.calls_waiting_max) {
      waiting_.push_back({name, std::move(parameters), std::move(reply)});
      if (waiting_.size() == 1) wake();
      return;
    }
  }
  reply(tl::unexpected(std::move(refusal)));
}

void PostgresDatabase::tell(std::string message) {
  CHECK(message.size() <= kMessageBytesMax);
  const std::lock_guard lock(mutex_);
  if (std::find(messages_.begin(), messages_.end(), message) != messages_.end()) return;
  if (messages_.size() >= kMessagesMax) return;  // a hint: who needs it polls
  messages_.push_back(std::move(message));
  wake();
}

void PostgresDatabase::hear(std::function<void(const std::string&)> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void PostgresDatabase::work() {
  while (sleep_until_needed()) {
    if (!link_) {
      connect_again();
      continue;
    }
    if (!link_->consume()) note({{}, "the connection was closed", true});
    if (!link_) continue;
    Calls calls;
    std::vector<std::string> messages;
    const bool may_tell = SteadyClock::now() >= tell_not_before_;
    {
      const std::lock_guard lock(mutex_);
      const std::size_t group = std::min(waiting_.size(), kGroupMax);
      std::move(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(group),
                std::back_inserter(calls));
      waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(group));
      if (may_tell) messages.swap(messages_);
    }
    if (!messages.empty()) tell_not_before_ = SteadyClock::now() + kTellInterval;
    if (!calls.empty() || !messages.empty()) do_calls(calls, messages);
    if (!link_) continue;
    const std::vector<std::string> heard = link_->heard();
    const std::lock_guard lock(listener_mutex_);
    for (const std::string& message : heard)
      if (listener_) listener_(message);
  }
}

// Waits for calls, for what the database has to say, or for the time to connect again. False: it is over.
bool PostgresDatabase::sleep_until_needed() {
  int timeout_ms = -1;
  {
    const std::lock_guard lock(mutex_);
    if (closing_ && (waiting_.empty() || !link_)) return false;
    if (link_ && !waiting_.empty()) return true;
    if (!messages_.empty()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(tell_not_before_ - SteadyClock::now());
      timeout_ms = std::max(0, static_cast<int>(left.count()));
    }
  }
  if (!link_) timeout_ms = static_cast<int>(pause().count());
  std::array<pollfd, 2> waits{pollfd{wake_, POLLIN, 0}, pollfd{link_ ? link_->socket() : -1, POLLIN, 0}};
  ::poll(waits.data(), waits.size(), timeout_ms);
  std::uint64_t count = 0;
  static_cast<void>(!::read(wake_, &count, sizeof count));
  const std::lock_guard lock(mutex_);
  return !closing_ || (link_ && !waiting_.empty());
}

// Twice as long after each failure, and never the same for all servers that lost the same database.
std::chrono::milliseconds PostgresDatabase::pause() {
  const auto longest =
      std::min(options_.reconnect_max, options_.reconnect_min * (1 << std::min(failures_in_a_row_, 10)));
  return std::chrono::milliseconds(
      std::uniform_int_distribution<std::int64_t>(longest.count() / 2, longest.count())(chance_));
}

void PostgresDatabase::connect_again() {
  ++failures_in_a_row_;
  auto link = connect(url_, options_);
  if (!link) return log(LogLevel::warning, "job_store_away", {{"error", link.error().message}});
  link_ = *std::move(link);
  failures_in_a_row_ = 0;
  const std::lock_guard lock(mutex_);
  connected_ = true;
  log(LogLevel::info, "job_store_back");
}

void PostgresDatabase::do_calls(Calls& calls, std::vector<std::string>& messages) {
  const auto changes_end = std::stable_partition(calls.begin(), calls.end(), [this](const Call& call) {
    return changes_[static_cast<std::size_t>(call.name)];
  });
  const auto changes = static_cast<std::size_t>(changes_end - calls.begin());
  const auto prepared = [this](const Call& call) {
    return PostgresLink::Prepared{names_[static_cast<std::size_t>(call.name)].c_str(), &call.parameters};
  };
  std::vector<PostgresLink::Transaction> transactions;
  if (changes > 0) transactions.emplace_back();
  for (std::size_t i = 0; i < changes; ++i) transactions.front().push_back(prepared(calls[i]));
  for (std::size_t i = changes; i < calls.size(); ++i) transactions.push_back({prepared(calls[i])});
  std::vector<Values> hints;
  for (std::string& message : messages) hints.push_back({std::move(message)});
  if (!hints.empty()) transactions.emplace_back();
  for (const Values& hint : hints) transactions.back().push_back({kTell, &hint});

  auto outcomes = link_->run(transactions);
  std::size_t question = changes > 0 ? 1 : 0;
  for (std::size_t i = changes; i < calls.size(); ++i) settle(calls[i], std::move(outcomes[question++]));
  if (!hints.empty() && !outcomes.back()) note(outcomes.back().error());
  calls.erase(changes_end, calls.end());
  if (changes == 0) return;
  auto& together = outcomes.front();
  if (!together && !together.error().lost) return do_alone(calls);
  for (std::size_t i = 0; i < changes; ++i) {
    if (together)
      settle(calls[i], std::vector<Rows>{std::move((*together)[i])});
    else
      settle(calls[i], tl::unexpected(together.error()));
  }
}

void PostgresDatabase::do_alone(Calls& calls) {
  for (Call& call : calls) {
    PostgresLink::Outcome<std::vector<Rows>> outcome = tl::unexpected(PostgresFailure{{}, {}, true});
    for (int tries = 0; link_ && tries < kTriesAlone; ++tries) {
      outcome = std::move(
          link_->run({{{names_[static_cast<std::size_t>(call.name)].c_str(), &call.parameters}}}).front());
      if (outcome || !may_pass(outcome.error())) break;
    }
    settle(call, std::move(outcome));
  }
}

void PostgresDatabase::settle(Call& call, PostgresLink::Outcome<std::vector<Rows>> outcome) {
  if (!outcome) {
    note(outcome.error());
    return call.reply(tl::unexpected(to_error(outcome.error())));
  }
  if (changes_[static_cast<std::size_t>(call.name)] && !outcome->front().empty()) healthy_ = true;
  call.reply(std::move(outcome->front()));
}

void PostgresDatabase::note(const PostgresFailure& failure) {
  if (!failure.lost) {
    // Class 22: it is the value that is wrong, not the store.
    if (!failure.state.starts_with("22")) healthy_ = false;
    return log(LogLevel::error, "job_store_failed", {{"error", failure.text}, {"state", failure.state}});
  }
  if (!link_) return;
  log(LogLevel::error, "job_store_lost", {{"error", failure.text}});
  link_.reset();
  Calls stranded;
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
    stranded.swap(waiting_);
  }
  for (Call& call : stranded) call.reply(tl::unexpected(to_error(failure)));
}

}  // namespace diffused::jobstore
