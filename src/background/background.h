// Jobs that go on when their client has gone, and when the process has: claimed from the job store, run on
// the dispatcher, their pictures kept, their outcome written down.
#pragma once

#include <boost/asio/strand.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "async/submitted_job.h"
#include "background/job_event_log.h"
#include "background/observer.h"
#include "background/parts.h"
#include "jobstore/job_store.h"
#include "parameters/job_record.h"

namespace diffused::background {

namespace asio = boost::asio;
namespace json = boost::json;

// How long a job's events are told to other servers after one has asked; watchers ask again well within it.
constexpr std::chrono::seconds kToldAfterAsking{10};

// Of jobs that somebody waits for at another server: before all background jobs.
constexpr int kAwaitedPriority = 10 * kPriorityMax;

struct Options {
  int jobs_running_max = 8;  // taken from the store at a time; the rest waits there. 0: others make them
  std::int64_t jobs_queued_max = 10'000;
  // Of the pictures that one user's waiting jobs start from, in a store of this server's own.
  std::uint64_t inputs_of_user_bytes_max = 256ull << 20;
  std::chrono::milliseconds poll = std::chrono::seconds(2);   // how often to look without being told
  std::chrono::milliseconds renew = std::chrono::seconds(5);  // well below the store's lease
  // A picture can be fetched as long as its job is remembered (StoreOptions::lifetime).
  std::chrono::seconds picture_lifetime = std::chrono::hours(24);
  // Whether the device gets on with its work: while it does not, no lease is renewed. Must not block.
  std::function<bool()> device_moves = [] { return true; };
  // On a store that other servers claim from too: how long to wait before each claim for every job that runs
  // here already, so that whoever has least to do comes first. Zero: the store is ours alone.
  std::chrono::milliseconds claim_delay = std::chrono::milliseconds(0);
  std::string worker = "this";  // this server's name, no other's
  // What the outcome of a job says beside its pictures, in the words in which it will be shown. It must have
  // the member "timings", as write_timings writes it. Pictures are those that were made; never none.
  std::function<boost::json::object(std::int64_t created, const PictureRequest&, std::span<const Picture>,
                                    const Timings&)>
      describe = nullptr;                                             // null: nothing else
  std::shared_ptr<Observer> observer = std::make_shared<Observer>();  // never null
};

// What this server knows of the store and of all servers on it.
struct Figures {
  jobstore::Counts counts;
  std::map<std::string, std::int64_t> servers;  // how many have each model
  bool store_up = true;
  jobstore::Upkeep upkeep;  // looked at once a minute
};

// Logs what ended a coroutine that nobody waits for: it must not end unseen.
void log_background_fault(const std::exception_ptr& fault);

class Background {
 public:
  // The executor, and what the parts refer to, must outlive this.
  Background(Parts parts, Options options, asio::any_io_executor executor);
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  // Begins to claim. Once.
  void start();
  // Any thread. Claims nothing more; what runs goes on to its end, and what the dispatcher cuts short goes
  // back to the queue. The coroutines end when nothing is left.
  void stop();
  bool stopping() const { return stopping_; }
  // Any thread. Those who only watch a job are to connect again, elsewhere; all else goes on.
  void send_watchers_away() { watchers_may_stay_ = false; }
  bool watchers_may_stay() const { return watchers_may_stay_ && !stopping_; }

  const Parts& parts() const { return parts_; }
  jobstore::JobStore& store() const { return store_; }
  std::uint64_t inputs_of_user_bytes_max() const { return options_.inputs_of_user_bytes_max; }

  // The rest: any thread.
  // Whether another job of the model may be queued. Jobs of a model that no server has at present may take a
  // tenth of the queue, so that the others find room. Errors: overloaded, unavailable (storage full,
  // stopping).
  Result<void> check_room(const std::string& model) const;
  // There may be something to claim.
  void wake() { work_signal_.notify(); }
  // A job of the model was queued.
  void job_added(const std::string& model);
  // The job is cancelled in the store: ends its run, here or on another server, and tells its watchers.
  void stop_job(const std::string& id);
  // Has the pictures of a running job below a number finished as they are, on whichever server it runs.
  void finish_job(const std::string& id, std::size_t pictures);
  // Somebody here watches a job that another server runs: asks that one for the events after `last`, and for
  // those of the next seconds as they come.
  void ask_for_events(const std::string& id, const EventId& last);
  // The feed of a job that runs here, may come to, or is watched here.
  std::shared_ptr<JobEventLog> feed(const std::string& id);
  int progress(const std::string& id) const;
  jobstore::Counts counts() const;
  const std::string& worker() const { return options_.worker; }
  Observer& observer() const { return *options_.observer; }
  Figures figures() const;

 private:
  // Runs the loop to its end, again when it ends in a fault.
  asio::awaitable<void> keep_up(asio::awaitable<void> (Background::*loop)());
  asio::awaitable<void> claim_jobs();
  void start_run(jobstore::Job job);
  asio::awaitable<void> keep_leases();
  asio::awaitable<void> renew_all();
  asio::awaitable<void> announce_models();
  asio::awaitable<void> look_after_others();
  asio::awaitable<void> take_figures();
  asio::awaitable<void> run(jobstore::Job job);
  asio::awaitable<Result<std::string>> make(const jobstore::Job& job, JobEventLog& feed);
  std::string outcome_of(const PictureRequest& request, std::vector<Picture> pictures,
                         const json::array& items, const Timings& timings) const;
  // What became of the job; whether that was its end here.
  asio::awaitable<std::string_view> record(const jobstore::Job& job, Result<std::string> outcome);
  asio::awaitable<std::string_view> why_not_held(const std::string& id);
  asio::awaitable<Result<json::object>> item_of(const jobstore::Job& job, const JobSpec& spec,
                                                const Picture& picture);
  asio::awaitable<Result<void>> keep_picture(std::string_view model, const std::string& id,
                                             storage::Blob blob, int tries_max);
  asio::awaitable<void> pause(std::chrono::milliseconds time);
  bool runs_here(const std::string& id) const;
  void store_was_away();
  bool shared() const { return options_.claim_delay.count() > 0; }
  // What a line of the log says of a job.
  static json::object fields_of(const jobstore::Job& job);
  std::optional<std::string> key_to_prefer();

  // What servers tell each other (background_relay.cpp). On the strand, but `tell` from any thread.
  void tell(json::object message);
  asio::awaitable<void> hear(std::string message);
  void end_run(const std::string& id);
  void finish_run(const std::string& id, std::size_t pictures);
  std::shared_ptr<JobEventLog> known_feed(const std::string& id) const;
  void add_event(const std::string& id, JobEventLog& feed, std::string name, json::object payload);
  void send_event(const std::string& id, const JobEventLog::Entry& entry);
  asio::awaitable<void> send_preview(json::object message, std::string data);
  asio::awaitable<void> take_event(const json::object& message);
  std::vector<ServedModel> local_models() const;
  std::vector<std::string> pools() const;

  const Parts parts_;
  jobstore::JobStore& store_;  // of the parts
  const Options options_;
  const asio::strand<asio::any_io_executor> strand_;
  WakeSignal work_signal_, renew_signal_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> watchers_may_stay_ = true;
  std::atomic<bool> pictures_full_ = false;

  // On the strand:
  // By id and lease number: a job whose lease ran out may be claimed again before its old run has stopped.
  // The run is null until it is submitted and after it has ended.
  std::map<std::pair<std::string, std::int64_t>, SubmittedJob*> runs_;
  // Until when the events of a job are told to other servers; its end is told in any case.
  std::map<std::string, SteadyTime> watched_elsewhere_;
  std::string last_batch_key_;  // of what was claimed last
  int preferred_in_a_row_ = 0;
  SteadyTime not_before_;       // the dispatcher wants no more until then
  SteadyTime upkeep_at_;        // when it is looked at next
  SteadyTime reap_not_before_;  // the store was away: whoever lives shall renew first

  mutable std::mutex figures_mutex_;
  Figures figures_;  // guarded by figures_mutex_

  mutable std::mutex feeds_mutex_;
  std::map<std::string, std::weak_ptr<JobEventLog>> feeds_;  // guarded by feeds_mutex_
};

}  // namespace diffused::background
