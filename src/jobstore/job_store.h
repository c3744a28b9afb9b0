// START HERE for the room `jobstore`: jobs that outlive the process. It knows nothing of pictures: what a job
// asks for and what came of it are texts that only the api room reads.
//
// A job is a row, and these are all the ways it can go, each one statement (statements.cpp):
//
//   enqueue            → queued
//   claim      queued  → running      attempt + 1, lease + 1
//   renew      running → running      a later end of the lease, and how far it has come
//   succeed    running → succeeded
//   fail       running → failed
//   give_back  running → queued       lease + 1; failed instead when the attempts are used up
//   reap       running → queued       as give_back, for leases that ran out
//   cancel     queued, running → cancelled   lease + 1
//   give_up    queued  → failed       lease + 1, for jobs that waited too long
//   expire     succeeded, failed, cancelled → gone
//
// The lease number is the fence: whoever works on a job names the number it was given, and what comes under
// an older number changes nothing. So a job is executed at least once and its outcome is recorded exactly
// once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace diffused::jobstore {

enum class JobState { queued, running, succeeded, failed, cancelled };

constexpr bool has_ended(JobState state) { return state != JobState::queued && state != JobState::running; }

struct NewJob {
  std::string id;
  std::string owner;      // who sees it in lists, shares the machine with others, and whose keys are compared
  std::string pool;       // the model: who may claim it
  std::string batch_key;  // jobs of equal keys are claimed together
  int priority = 0;       // higher comes first
  double cost = 1;        // work, in any unit that all jobs share
  std::string spec;       // what is asked for
  std::optional<std::string> idempotency_key;
  std::string request_hash;  // equal for equal requests
  std::string request_id;    // of the request that it came with, for people who follow it; may be empty
  std::string trace;         // W3C's traceparent that came with it, or empty
};

struct Job {
  std::string id;
  std::string owner;
  std::string pool;
  JobState state = JobState::queued;
  int attempt = 0;         // claims so far that were not given back unused
  std::int64_t lease = 0;  // the fence
  int progress = 0;        // percent, of the present attempt; brought up to date by renew
  std::string spec;
  std::optional<std::string> outcome;    // what succeed or fail said
  std::int64_t sequence = 0;             // order of acceptance
  std::int64_t created = 0;              // unix seconds
  std::optional<std::int64_t> started;   // the first claim
  std::optional<std::int64_t> finished;  //
  std::optional<std::int64_t> expires;   // from then on it may be gone
  int priority = 0;
  std::string worker;                // who claimed it last
  std::string request_id;            // as NewJob's
  std::string trace;                 //
  std::chrono::milliseconds age{0};  // since it was accepted, when the store answered
  bool ended() const { return has_ended(state); }
};

// A claim on a job.
struct Lease {
  std::string id;
  std::int64_t number = 0;
};

struct Enqueued {
  Job job;
  bool replayed = false;  // it was there already, under the same idempotency key
};

// What claim looks for.
struct Claim {
  std::vector<std::string> pools;
  int jobs_max = 1;
  std::string worker;  // a name for people, no other server's
  // Jobs of this batch key come first, if there are any among those next in line and of the same priority: a
  // node that runs some can run more for little.
  std::optional<std::string> batch_key_preferred = std::nullopt;
  int priority_min = std::numeric_limits<int>::min();  // only jobs of at least this priority
};

// What a page of list() holds.
struct Page {
  std::string owner;
  std::optional<std::string> after;  // the id of the last job of the page before
  int jobs_max = 20;
  bool newest_first = true;
};

struct PoolCounts {
  std::int64_t queued = 0;
  std::int64_t running = 0;
  double queued_cost = 0;          // NewJob::cost of all that are queued
  std::int64_t oldest_queued = 0;  // seconds since the oldest of those was accepted
};
struct Counts : PoolCounts {  // of all pools together
  std::map<std::string, PoolCounts> by_pool;
};

// A model that some server on the store has, or once had.
struct Announced {
  std::string name;         // the pool of its jobs
  std::string description;  // what the server that spoke last said of it
  std::int64_t added = 0;   // unix seconds: when it was first heard of
  bool served = true;       // whether some server still has it, as far as is known
  bool recent = true;       // whether some server had it within the last hour
};

// What may slow a database down in time.
struct Upkeep {
  std::int64_t dead_rows = 0;  // of jobs, that await a vacuum
  std::int64_t oldest_transaction_seconds =
      0;  // of those that this role may see: while one is open none goes
};

struct StoreOptions {
  std::chrono::milliseconds lease = std::chrono::seconds(15);  // from claim or renew
  std::chrono::seconds lifetime = std::chrono::hours(24);      // of a job that has ended
  int attempts_max = 3;
  // Of one owner, by all servers on the store; 0: no limit. Servers do not see what others add at the same
  // moment: what one owner sends to several may exceed it.
  std::int64_t owner_queued_max = 0;
  std::int64_t pool_queued_max = 0;         // the same of one pool
  std::chrono::seconds queued_lifetime{0};  // give_up's; zero: jobs may wait for ever
  std::size_t calls_waiting_max = 10'000;
  // Told how long each call to the database took, and whether it went well; on a thread of the store, must
  // not block. Null: nobody counts.
  std::function<void(bool changes, double seconds, bool well)> answered = nullptr;
  // Of a store of one machine. Beyond it ended jobs leave early, those of who keeps most of them first; where
  // that makes no room, no job is added ("storage_full"). 0: no limit.
  std::uint64_t bytes_max = 0;
};

// Called exactly once, on a thread of the store: it must not block and must not throw. All errors that any
// call may bring: unavailable ("storage_full", "storage_failed": with retry_after), overloaded (more calls
// wait than calls_waiting_max). Where it brings jobs, a row that cannot be read is data_loss if it is the one
// that was asked for; of several it is left out, and the log tells of it.
template <typename T>
using Reply = std::function<void(Result<T>)>;

// Any thread; no call waits. A reply to a change comes when the change is durable. Calls that one thread
// makes are done in their order, but a question may be answered after later changes.
class JobStore {
 public:
  virtual ~JobStore() = default;

  // Adds a job, or finds the one of the same owner and idempotency key. Error: conflict
  // ("idempotency_key_reused") when that one has another request_hash; overloaded ("queue_full") when
  // owner_queued_max of the owner's are queued, or pool_queued_max of the pool's.
  virtual void enqueue(NewJob job, Reply<Enqueued> reply) = 0;

  // Up to jobs_max jobs of one pool and one batch key: those next in line by priority, then by share (owners
  // take turns by cost), then by age.
  virtual void claim(Claim claim, Reply<std::vector<Job>> reply) = 0;

  // These answer whether the lease still holds; false changes nothing.
  virtual void renew(Lease lease, int progress, Reply<bool> reply) = 0;
  virtual void succeed(Lease lease, std::string outcome, Reply<bool> reply) = 0;
  virtual void fail(Lease lease, std::string outcome, Reply<bool> reply) = 0;
  // `used`: the attempt counts. `outcome` is kept when the job fails for lack of further attempts.
  virtual void give_back(Lease lease, bool used, std::string outcome, Reply<bool> reply) = 0;

  // Gives back, as used, jobs whose lease has run out, and answers with what became of them: queued, or
  // failed where the attempts were used up. To be called only by who has been able to renew its own leases
  // meanwhile. Many may call it at once.
  virtual void reap(Reply<std::vector<Job>> reply) = 0;

  // Fails up to 100 jobs that have been queued for queued_lifetime, with this outcome, and answers with them.
  virtual void give_up(std::string outcome, Reply<std::vector<Job>> reply) = 0;

  // `owner` absent: anybody's. Error: not_found.
  virtual void find(std::string id, std::optional<std::string> owner, Reply<Job> reply) = 0;
  // Error: not_found when there is no job `after`.
  virtual void list(Page page, Reply<std::vector<Job>> reply) = 0;
  // Queued jobs of its pool that are before it; counting stops at 1,000. 0 when it is not queued.
  virtual void position(std::string id, Reply<std::int64_t> reply) = 0;
  virtual void count(Reply<Counts> reply) = 0;

  // The job as it is then: cancelled, or ended before. Error: not_found.
  virtual void cancel(std::string id, std::optional<std::string> owner, Reply<Job> reply) = 0;
  // Deletes a job that has ended and answers with what it was. Errors: not_found, conflict ("job_not_ended").
  virtual void remove(std::string id, std::optional<std::string> owner, Reply<Job> reply) = 0;
  // Deletes up to 100 ended jobs whose time is over and answers with their number.
  virtual void expire(Reply<std::int64_t> reply) = 0;

  // A server that claims jobs of the model says so, three times in each lease (StoreOptions::lease); the
  // reply is whether that was news.
  virtual void announce(std::string model, std::string description, std::string server,
                        Reply<bool> reply) = 0;
  // It claims no more.
  virtual void leave(std::string server, Reply<bool> reply) = 0;
  // How many servers have each model that ever was announced, as far as is known.
  virtual void servers(Reply<std::map<std::string, std::int64_t>> reply) = 0;
  // All that ever were announced, those known longest first: a name is never forgotten, so that no other
  // model answers to it.
  virtual void models(Reply<std::vector<Announced>> reply) = 0;

  // For who runs the servers. Up to jobs_max jobs of anybody in that state, those accepted first before the
  // others.
  virtual void list_state(JobState state, int jobs_max, Reply<std::vector<Job>> reply) = 0;
  // Queues a job again that runs, or has failed or was cancelled, with all its attempts. Errors: not_found,
  // conflict ("job_not_ended": it is queued, or it has succeeded).
  virtual void requeue(std::string id, Reply<Job> reply) = 0;
  // From now on nobody claims jobs of the pool ("*": of any), or does again. What runs goes on.
  virtual void pause(std::string pool, bool paused, Reply<bool> reply) = 0;
  virtual void paused(Reply<std::vector<std::string>> reply) = 0;
  virtual void upkeep(Reply<Upkeep> reply) = 0;

  // What the servers on one store tell each other: hints, which may come late, twice or not at all, of at
  // most 7,900 bytes. `tell` reaches the listeners of all other servers; `listener` is called on a thread of
  // the store and must not block. On a store of one server nobody is there to be told.
  virtual void tell(std::string message) = 0;
  virtual void hear(std::function<void(const std::string&)> listener) = 0;

  // Whether calls can succeed, as far as is known.
  virtual bool healthy() const = 0;
  // Whether none will in this process: its file is not what it was, or the disk did not confirm a write, so
  // that what is in it is not known. Whoever starts anew reads what is there.
  virtual bool broken() const { return false; }
  // `listener` is called when it breaks, at once when it has, on any thread; it must not block. Null: nobody.
  virtual void when_broken(std::function<void()> /*listener*/) {}
};

}  // namespace diffused::jobstore
