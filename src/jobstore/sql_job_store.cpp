#include "jobstore/sql_job_store.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <tuple>
#include <utility>

#include "jobstore/rows.h"

namespace diffused::jobstore {
namespace {

// By which part of its limit the store may exceed it while ended jobs leave.
constexpr std::uint64_t kTrimSlack = 8;

}  // namespace

void SqlJobStore::run(StatementName name, Values parameters, Reply<Rows> reply) {
  if (!options_.answered) return database_->run(name, std::move(parameters), std::move(reply));
  const auto asked = std::chrono::steady_clock::now();
  database_->run(name, std::move(parameters),
                 [this, name, asked, reply = std::move(reply)](Result<Rows> rows) {
                   const std::chrono::duration<double> took = std::chrono::steady_clock::now() - asked;
                   options_.answered(changes(name), took.count(), rows.has_value());
                   reply(std::move(rows));
                 });
}

Error SqlJobStore::too_many() const {
  const std::string whose = options_.pool_queued_max == 0    ? "of your jobs"
                            : options_.owner_queued_max == 0 ? "jobs of this model"
                                                             : "of your jobs, or jobs of this model,";
  Error error{ErrorCode::overloaded, "as many " + whose + " are waiting as may", {}, "queue_full"};
  error.retry_after = kOwnerRetryAfter;
  return error;
}

Result<void> SqlJobStore::make_room() {
  const std::uint64_t used = database_->bytes();
  if (options_.bytes_max == 0 || used <= options_.bytes_max) return {};
  run(StatementName::trim, {}, [](const Result<Rows>&) {});
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
                text(options_.owner_queued_max),
                text(options_.pool_queued_max),
                job.request_id,
                job.trace};
  auto added = [this, job = std::move(job)](Rows rows, const Reply<Enqueued>& answer) {
    if (!rows.empty()) return answer(enqueued(std::move(rows.front()), false));
    // There is one under its key already, or there are too many. Where there can be no limit it was deleted
    // between the two statements: as good as expired, and the client may send it again.
    const bool limited = options_.owner_queued_max > 0 || options_.pool_queued_max > 0;
    replay(job, limited ? too_many() : no_such_job().value(), answer);
  };
  run(StatementName::enqueue, std::move(values), rows_to<Enqueued>(std::move(reply), std::move(added)));
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
  run(StatementName::find_by_key, {job.owner, job.idempotency_key},
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
    run(StatementName::head, {pool, text(std::int64_t{claim.priority_min})},
        [this, heads, pool, claim, reply](Result<Rows> rows) {
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
  run(StatementName::claim,
      {std::move(pool), text(std::int64_t{claim.jobs_max}), claim.worker, text(options_.lease.count()),
       claim.batch_key_preferred, text(std::int64_t{claim.priority_min})},
      the_jobs(std::move(reply)));
}

void SqlJobStore::renew(Lease lease, int progress, Reply<bool> reply) {
  run(StatementName::renew,
      {lease.id, text(lease.number), text(options_.lease.count()), text(std::int64_t{progress})},
      whether_any(std::move(reply)));
}

void SqlJobStore::end(Lease lease, JobState state, std::string outcome, Reply<bool> reply) {
  run(StatementName::end,
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
  run(StatementName::give_back,
      {text(options_.lifetime.count()), std::move(outcome), lease.id, text(lease.number),
       std::string(used ? "0" : "1")},
      whether_any(std::move(reply)));
}

void SqlJobStore::reap(Reply<std::vector<Job>> reply) { reap_within(0, std::move(reply)); }
void SqlJobStore::reap_all(Reply<std::vector<Job>> reply) { reap_within(kAllLeases, std::move(reply)); }

void SqlJobStore::reap_within(std::int64_t milliseconds, Reply<std::vector<Job>> reply) {
  // No outcome: whoever reads the row knows that a failure without one is a worker that was lost each time.
  run(StatementName::reap, {text(options_.lifetime.count()), std::nullopt, text(milliseconds)},
      the_jobs(std::move(reply)));
}

void SqlJobStore::give_up(std::string outcome, Reply<std::vector<Job>> reply) {
  if (options_.queued_lifetime.count() == 0) return reply(std::vector<Job>());
  run(StatementName::give_up,
      {std::move(outcome), text(options_.lifetime.count()), text(options_.queued_lifetime.count())},
      the_jobs(std::move(reply)));
}

void SqlJobStore::find(std::string id, std::optional<std::string> owner, Reply<Job> reply) {
  auto found = [owner = std::move(owner)](Rows rows, const Reply<Job>& answer) {
    answer(own_job(std::move(rows), owner));
  };
  run(StatementName::find, {std::move(id)}, rows_to<Job>(std::move(reply), std::move(found)));
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
  run(page.newest_first ? StatementName::list_newest : StatementName::list_oldest,
      {page.owner, text(sequence), text(std::int64_t{page.jobs_max})}, the_jobs(std::move(reply)));
}

void SqlJobStore::position(std::string id, Reply<std::int64_t> reply) {
  auto counted = [](Rows rows, const Reply<std::int64_t>& answer) {
    answer(number<std::int64_t>(rows.front()[0]));
  };
  run(StatementName::position, {std::move(id)}, rows_to<std::int64_t>(std::move(reply), counted));
}

void SqlJobStore::count(Reply<Counts> reply) {
  auto counted = [](Rows rows, const Reply<Counts>& answer) {
    Counts counts;
    for (const Values& row : rows) {
      for (PoolCounts* each : {&counts.by_pool[*row[0]], static_cast<PoolCounts*>(&counts)}) {
        each->queued += number<std::int64_t>(row[1]);
        each->running += number<std::int64_t>(row[2]);
        each->queued_cost += number<double>(row[3]);
        each->oldest_queued = std::max(each->oldest_queued, number<std::int64_t>(row[4]));
      }
    }
    answer(std::move(counts));
  };
  run(StatementName::count, {}, rows_to<Counts>(std::move(reply), counted));
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
    run(name, parameters, rows_to<Job>(reply, std::move(changed)));
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

void SqlJobStore::announce(std::string model, std::string description, std::string server,
                           Reply<bool> reply) {
  const auto whole = std::chrono::ceil<std::chrono::seconds>(options_.lease);
  run(StatementName::appear, {std::move(server), model, text(whole.count())}, [](const Result<Rows>&) {});
  const auto lease = std::chrono::ceil<std::chrono::seconds>(options_.lease / 3);
  run(StatementName::announce, {std::move(model), std::move(description), text(lease.count())},
      whether_any(std::move(reply)));
}

void SqlJobStore::leave(std::string server, Reply<bool> reply) {
  run(StatementName::leave, {std::move(server)}, whether_any(std::move(reply)));
}

void SqlJobStore::servers(Reply<std::map<std::string, std::int64_t>> reply) {
  // It is written once in a lease, and times are in whole seconds.
  const std::int64_t silent = 2 + 2 * std::chrono::ceil<std::chrono::seconds>(options_.lease).count();
  auto counted = [](Rows rows, const Reply<std::map<std::string, std::int64_t>>& answer) {
    std::map<std::string, std::int64_t> servers;
    for (Values& row : rows) servers[*std::move(row[0])] = number<std::int64_t>(row[1]);
    answer(std::move(servers));
  };
  run(StatementName::servers, {text(silent)},
      rows_to<std::map<std::string, std::int64_t>>(std::move(reply), counted));
}

void SqlJobStore::models(Reply<std::vector<Announced>> reply) {
  // One announcement may be lost, and times are in whole seconds.
  const std::int64_t silent = 2 + std::chrono::ceil<std::chrono::seconds>(options_.lease).count();
  auto listed = [silent](Rows rows, const Reply<std::vector<Announced>>& answer) {
    std::vector<Announced> models;
    for (Values& row : rows) {
      const auto seconds = number<std::int64_t>(row[3]);
      models.push_back({*std::move(row[0]), *std::move(row[1]), number<std::int64_t>(row[2]),
                        seconds <= silent, seconds < kRecentSeconds});
    }
    answer(std::move(models));
  };
  run(StatementName::models, {}, rows_to<std::vector<Announced>>(std::move(reply), listed));
}

void SqlJobStore::expire(Reply<std::int64_t> reply) {
  run(StatementName::forget_servers, {}, [](const Result<Rows>&) {});
  run(StatementName::expire, {}, how_many(std::move(reply)));
}

}  // namespace diffused::jobstore
