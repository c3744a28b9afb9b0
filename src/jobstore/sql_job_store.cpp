#include "jobstore/sql_job_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <mutex>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace diffused::jobstore {
namespace {

constexpr std::array<std::string_view, 5> kStates{"queued", "running", "succeeded", "failed", "cancelled"};
constexpr std::chrono::seconds kOwnerRetryAfter{5};  // while an owner has too many jobs
// By which part of its limit the store may exceed it while ended jobs leave.
constexpr std::uint64_t kTrimSlack = 8;
// Beyond the end of any lease.
constexpr std::int64_t kAllLeases = 1'000'000'000'000'000;

std::string text(std::int64_t number) { return std::to_string(number); }
std::string text(double number) { return fmt::format("{}", number); }

template <typename Number>
Number number(const std::optional<std::string>& cell) {
  Number value{};
  CHECK(cell.has_value());
  const auto [end, error] = std::from_chars(cell->data(), cell->data() + cell->size(), value);
  CHECK_WITH(error == std::errc(), "no number: " + *cell);
  return value;
}

// A row's cells, read one after the other. Somebody may have edited it, or a page is damaged.
class CellReader {
 public:
  explicit CellReader(Values& row) : row_(row) {}
  // Whether all that was read was what it should be.
  bool good() const { return good_; }

  std::string text() {
    std::optional<std::string>& cell = next();
    good_ = good_ && cell.has_value();
    return cell ? *std::move(cell) : std::string();
  }
  std::optional<std::string> maybe_text() { return std::move(next()); }
  template <typename Number>
  Number number() {
    return read<Number>(next());
  }
  std::optional<std::int64_t> maybe_number() {
    const std::optional<std::string>& cell = next();
    return cell ? std::optional(read<std::int64_t>(cell)) : std::nullopt;
  }
  JobState state() {
    const auto found = std::find(kStates.begin(), kStates.end(), text());
    good_ = good_ && found != kStates.end();
    return good_ ? static_cast<JobState>(found - kStates.begin()) : JobState::failed;
  }

 private:
  std::optional<std::string>& next() { return row_[column_++]; }
  template <typename Number>
  Number read(const std::optional<std::string>& cell) {
    Number value{};
    const char* const end = cell ? cell->data() + cell->size() : nullptr;
    const auto read = cell ? std::from_chars(cell->data(), end, value)
                           : std::from_chars_result{nullptr, std::errc::invalid_argument};
    good_ = good_ && read.ec == std::errc() && read.ptr == end;
    return value;
  }

  Values& row_;
  std::size_t column_ = 0;
  bool good_ = true;
};

// A row of kColumns (statements.cpp).
Result<Job> job_of(Values row) {
  CellReader cells(row);
  Job job;
  job.sequence = cells.number<std::int64_t>();
  job.id = cells.text();
  job.owner = cells.text();
  job.pool = cells.text();
  job.state = cells.state();
  job.attempt = cells.number<int>();
  job.lease = cells.number<std::int64_t>();
  job.spec = cells.text();
  job.outcome = cells.maybe_text();
  job.created = cells.number<std::int64_t>();
  job.started = cells.maybe_number();
  job.finished = cells.maybe_number();
  job.expires = cells.maybe_number();
  job.progress = cells.number<int>();
  if (cells.good()) return job;
  log(LogLevel::error, "job_row_unreadable", {{"job", job.id}, {"sequence", job.sequence}});
  return diffused::fail(ErrorCode::data_loss, "the row of the job cannot be read");
}
constexpr std::size_t kRequestHashColumn = 14;  // of find_by_key

std::vector<Job> jobs_of(Rows rows) {
  std::vector<Job> jobs;
  for (Values& row : rows)
    if (auto job = job_of(std::move(row))) jobs.push_back(*std::move(job));
  return jobs;
}

tl::unexpected<Error> no_such_job() {
  return diffused::fail(ErrorCode::not_found, "there is no such job, or it has expired", "id",
                        "job_not_found");
}

Error too_many() {
  Error error{ErrorCode::overloaded, "as many of your jobs are waiting as may", {}, "queue_full"};
  error.retry_after = kOwnerRetryAfter;
  return error;
}

// What enqueue answers for a row.
Result<Enqueued> enqueued(Values row, bool replayed) {
  TRY(Job job, job_of(std::move(row)));
  return Enqueued{std::move(job), replayed};
}

// A reply to the database that hands errors on and rows to `then`.
template <typename T, typename Then>
Reply<Rows> rows_to(Reply<T> reply, Then then) {
  return [reply = std::move(reply), then = std::move(then)](Result<Rows> rows) {
    if (!rows) return reply(tl::unexpected(std::move(rows).error()));
    then(*std::move(rows), reply);
  };
}

Reply<Rows> whether_any(Reply<bool> reply) {
  return rows_to<bool>(std::move(reply), [](Rows rows, const Reply<bool>& answer) { answer(!rows.empty()); });
}

Reply<Rows> how_many(Reply<std::int64_t> reply) {
  return rows_to<std::int64_t>(std::move(reply), [](Rows rows, const Reply<std::int64_t>& answer) {
    answer(static_cast<std::int64_t>(rows.size()));
  });
}

Reply<Rows> the_jobs(Reply<std::vector<Job>> reply) {
  return rows_to<std::vector<Job>>(std::move(reply), [](Rows rows, const Reply<std::vector<Job>>& answer) {
    answer(jobs_of(std::move(rows)));
  });
}

// The job of one row, if it is the owner's.
Result<Job> own_job(Rows rows, const std::optional<std::string>& owner) {
  if (rows.empty()) return no_such_job();
  TRY(Job job, job_of(std::move(rows.front())));
  if (owner && job.owner != *owner) return no_such_job();
  return job;
}

}  // namespace

Result<void> SqlJobStore::make_room() {
  const std::uint64_t used = database_->bytes();
  if (options_.bytes_max == 0 || used <= options_.bytes_max) return {};
  database_->run(StatementName::trim, {}, [](const Result<Rows>&) {});
  if (used <= options_.bytes_max + options_.bytes_max / kTrimSlack) return {};
  Error full{ErrorCode::unavailable, "there is no room for another job", {}, "storage_full"};
  full.retry_after = kOwnerRetryAfter;
  return tl::unexpected(std::move(full));
}

void SqlJobStore::enqueue(NewJob job, Reply<Enqueued> reply) {
  if (auto room = make_room(); !room) return reply(tl::unexpected(std::move(room).error()));
  Values values{job.id,
                job.owner,
                job.pool,
                job.batch_key,
                text(std::int64_t{job.priority}),
                text(job.cost),
                std::exchange(job.spec, {}),
                job.idempotency_key,
                job.request_hash,
                text(std::int64_t{options_.attempts_max}),
                text(options_.owner_queued_max)};
  auto added = [this, job = std::move(job)](Rows rows, const Reply<Enqueued>& answer) {
    if (!rows.empty()) return answer(enqueued(std::move(rows.front()), false));
    // There is one under its key already, or the owner has too many. Where there can be no limit it was
    // deleted between the two statements: as good as expired, and the client may send it again.
    replay(job, options_.owner_queued_max > 0 ? too_many() : no_such_job().value(), answer);
  };
  database_->run(StatementName::enqueue, std::move(values),
                 rows_to<Enqueued>(std::move(reply), std::move(added)));
}

void SqlJobStore::replay(const NewJob& job, Error otherwise, Reply<Enqueued> reply) {
  if (!job.idempotency_key) return reply(tl::unexpected(std::move(otherwise)));
  auto found = [hash = job.request_hash, otherwise](Rows rows, const Reply<Enqueued>& answer) {
    if (rows.empty()) return answer(tl::unexpected(otherwise));
    if (rows.front()[kRequestHashColumn] != hash)
      return answer(diffused::fail(ErrorCode::conflict, "another request was sent under this key",
                                   "Idempotency-Key", "idempotency_key_reused"));
    answer(enqueued(std::move(rows.front()), true));
  };
  database_->run(StatementName::find_by_key, {job.owner, job.idempotency_key},
                 rows_to<Enqueued>(std::move(reply), std::move(found)));
}

void SqlJobStore::claim(Claim claim, Reply<std::vector<Job>> reply) {
  if (claim.pools.size() == 1) return claim_from(claim.pools.front(), claim, std::move(reply));
  // The pool whose first in line comes first of all.
  struct Heads {
    std::mutex mutex;
    std::size_t missing;
    std::optional<std::tuple<std::int64_t, double, std::int64_t, std::string>> best;
    std::optional<Error> error;
  };
  if (claim.pools.empty()) return reply(std::vector<Job>());
  const auto heads = std::make_shared<Heads>();
  heads->missing = claim.pools.size();
  for (const std::string& pool : claim.pools) {
    database_->run(StatementName::head, {pool}, [this, heads, pool, claim, reply](Result<Rows> rows) {
      {
        const std::lock_guard lock(heads->mutex);
        if (!rows) heads->error = rows.error();
        if (rows && !rows->empty()) {
          const Values& row = rows->front();
          std::tuple place{-number<std::int64_t>(row[0]), number<double>(row[1]),
                           number<std::int64_t>(row[2]), pool};
          if (!heads->best || place < *heads->best) heads->best = std::move(place);
        }
        if (--heads->missing > 0) return;
      }
      if (heads->error) return reply(tl::unexpected(*heads->error));
      if (!heads->best) return reply(std::vector<Job>());
      claim_from(std::get<3>(*heads->best), claim, reply);
    });
  }
}

void SqlJobStore::claim_from(std::string pool, const Claim& claim, Reply<std::vector<Job>> reply) {
  database_->run(StatementName::claim,
                 {std::move(pool), text(std::int64_t{claim.jobs_max}), claim.worker,
                  text(options_.lease.count()), claim.batch_key_preferred},
                 the_jobs(std::move(reply)));
}

void SqlJobStore::renew(Lease lease, int progress, Reply<bool> reply) {
  database_->run(StatementName::renew,
                 {lease.id, text(lease.number), text(options_.lease.count()), text(std::int64_t{progress})},
                 whether_any(std::move(reply)));
}

void SqlJobStore::end(Lease lease, JobState state, std::string outcome, Reply<bool> reply) {
  database_->run(StatementName::end,
                 {lease.id, text(lease.number), std::string(kStates[static_cast<std::size_t>(state)]),
                  std::move(outcome), text(options_.lifetime.count())},
                 whether_any(std::move(reply)));
}

void SqlJobStore::succeed(Lease lease, std::string outcome, Reply<bool> reply) {
  end(std::move(lease), JobState::succeeded, std::move(outcome), std::move(reply));
}

void SqlJobStore::fail(Lease lease, std::string outcome, Reply<bool> reply) {
  end(std::move(lease), JobState::failed, std::move(outcome), std::move(reply));
}

void SqlJobStore::give_back(Lease lease, bool used, std::string outcome, Reply<bool> reply) {
  database_->run(StatementName::give_back,
                 {text(options_.lifetime.count()), std::move(outcome), lease.id, text(lease.number),
                  std::string(used ? "0" : "1")},
                 whether_any(std::move(reply)));
}

void SqlJobStore::reap(Reply<std::int64_t> reply) { reap_within(0, std::move(reply)); }
void SqlJobStore::reap_all(Reply<std::int64_t> reply) { reap_within(kAllLeases, std::move(reply)); }

void SqlJobStore::reap_within(std::int64_t milliseconds, Reply<std::int64_t> reply) {
  // No outcome: whoever reads the row knows that a failure without one is a worker that was lost each time.
  database_->run(StatementName::reap, {text(options_.lifetime.count()), std::nullopt, text(milliseconds)},
                 how_many(std::move(reply)));
}

void SqlJobStore::find(std::string id, std::optional<std::string> owner, Reply<Job> reply) {
  auto found = [owner = std::move(owner)](Rows rows, const Reply<Job>& answer) {
    answer(own_job(std::move(rows), owner));
  };
  database_->run(StatementName::find, {std::move(id)}, rows_to<Job>(std::move(reply), std::move(found)));
}

void SqlJobStore::list(Page page, Reply<std::vector<Job>> reply) {
  if (!page.after)
    return list_beyond(page.newest_first ? std::numeric_limits<std::int64_t>::max() : 0, page,
                       std::move(reply));
  const std::string after = *page.after;
  const std::string owner = page.owner;
  find(after, owner, [this, page = std::move(page), reply = std::move(reply)](Result<Job> job) {
    if (!job) return reply(tl::unexpected(std::move(job).error()));
    list_beyond(job->sequence, page, reply);
  });
}

void SqlJobStore::list_beyond(std::int64_t sequence, const Page& page, Reply<std::vector<Job>> reply) {
  database_->run(page.newest_first ? StatementName::list_newest : StatementName::list_oldest,
                 {page.owner, text(sequence), text(std::int64_t{page.jobs_max})}, the_jobs(std::move(reply)));
}

void SqlJobStore::position(std::string id, Reply<std::int64_t> reply) {
  auto counted = [](Rows rows, const Reply<std::int64_t>& answer) {
    answer(number<std::int64_t>(rows.front()[0]));
  };
  database_->run(StatementName::position, {std::move(id)}, rows_to<std::int64_t>(std::move(reply), counted));
}

void SqlJobStore::count(Reply<Counts> reply) {
  auto counted = [](Rows rows, const Reply<Counts>& answer) {
    const Values& row = rows.front();
    answer(Counts{number<std::int64_t>(row[0]), number<std::int64_t>(row[1]), number<double>(row[2])});
  };
  database_->run(StatementName::count, {}, rows_to<Counts>(std::move(reply), counted));
}

void SqlJobStore::change(StatementName name, Values parameters, std::optional<std::string> owner,
                         std::function<Result<Job>(Job)> otherwise, Reply<Job> reply) {
  // A job never changes hands, so looking first whose it is leaves no gap.
  const std::string id = *parameters.front();
  find(id, owner, [=, this, reply = std::move(reply)](Result<Job> job) {
    if (!job) return reply(tl::unexpected(std::move(job).error()));
    auto changed = [this, id, owner, otherwise](Rows rows, const Reply<Job>& answer) {
      if (!rows.empty()) return answer(job_of(std::move(rows.front())));
      find(id, owner, [otherwise, answer](Result<Job> job) {
        answer(job ? otherwise(*std::move(job)) : std::move(job));
      });
    };
    database_->run(name, parameters, rows_to<Job>(reply, std::move(changed)));
  });
}

void SqlJobStore::cancel(std::string id, std::optional<std::string> owner, Reply<Job> reply) {
  change(
      StatementName::cancel, {std::move(id), text(options_.lifetime.count())}, std::move(owner),
      [](Job job) -> Result<Job> { return job; }, std::move(reply));
}

void SqlJobStore::remove(std::string id, std::optional<std::string> owner, Reply<Job> reply) {
  change(
      StatementName::remove, {std::move(id)}, std::move(owner),
      [](Job) -> Result<Job> {
        return diffused::fail(ErrorCode::conflict, "the job has not ended: cancel it first", "id",
                              "job_not_ended");
      },
      std::move(reply));
}

void SqlJobStore::announce(std::string model, std::string description, Reply<bool> reply) {
  const auto lease = std::chrono::ceil<std::chrono::seconds>(options_.lease / 3);
  database_->run(StatementName::announce, {std::move(model), std::move(description), text(lease.count())},
                 whether_any(std::move(reply)));
}

void SqlJobStore::models(Reply<std::vector<Announced>> reply) {
  // One announcement may be lost, and times are in whole seconds.
  const std::int64_t silent = 2 + std::chrono::ceil<std::chrono::seconds>(options_.lease).count();
  auto listed = [silent](Rows rows, const Reply<std::vector<Announced>>& answer) {
    std::vector<Announced> models;
    for (Values& row : rows)
      models.push_back({*std::move(row[0]), *std::move(row[1]), number<std::int64_t>(row[2]),
                        number<std::int64_t>(row[3]) <= silent});
    answer(std::move(models));
  };
  database_->run(StatementName::models, {}, rows_to<std::vector<Announced>>(std::move(reply), listed));
}

void SqlJobStore::expire(Reply<std::int64_t> reply) {
  database_->run(StatementName::forget_models, {}, [](const Result<Rows>&) {});
  database_->run(StatementName::expire, {}, how_many(std::move(reply)));
}

}  // namespace diffused::jobstore
