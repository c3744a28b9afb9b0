#include "background/background.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "async/store_call.h"
#include "background/model_announcement.h"
#include "base/last_word.h"
#include "base/log.h"
#include "parameters/error_record.h"

namespace diffused::background {

using jobstore::Job;
using jobstore::Lease;

namespace {
constexpr auto kLoopRestart = std::chrono::milliseconds(200);
}  // namespace

void log_background_fault(const std::exception_ptr& fault) { log_fault("background_fault", fault); }

Background::Background(Parts parts, Options options, asio::any_io_executor executor)
    : parts_(std::move(parts)),
      store_(parts_.store),
      options_(std::move(options)),
      strand_(asio::make_strand(std::move(executor))),
      work_signal_(strand_),
      renew_signal_(strand_) {}

Background::~Background() { store_.hear(nullptr); }

void Background::start() {
  store_.hear(
      [this](const std::string& message) { asio::co_spawn(strand_, hear(message), log_background_fault); });
  for (const auto loop : {&Background::claim_jobs, &Background::keep_leases})
    asio::co_spawn(strand_, keep_up(loop), [](const std::exception_ptr& fault) {
      if (fault) end_process("background_ended", fault);
    });
}

// What every job depends on begins again when it ends in a fault.
asio::awaitable<void> Background::keep_up(asio::awaitable<void> (Background::*loop)()) {
  bool failed = false;
  while (true) {
    try {
      if (std::exchange(failed, false)) co_await pause(kLoopRestart);
      co_return co_await (this->*loop)();
    } catch (const std::exception&) {
      failed = true;
      log_background_fault(std::current_exception());
    }
  }
}

void Background::stop() {
  stopping_ = true;
  work_signal_.notify();
  renew_signal_.notify();
}

Result<void> Background::check_room(const std::string& model) const {
  constexpr std::int64_t kPartOfAway = 10;
  if (stopping_) return later(ErrorCode::unavailable, "the server is shutting down", "draining");
  if (pictures_full_) return later(ErrorCode::unavailable, "the disk for pictures is full", "storage_full");
  const std::lock_guard lock(figures_mutex_);
  if (figures_.counts.queued >= options_.jobs_queued_max)
    return later(ErrorCode::overloaded, "too many jobs are waiting", "queue_full");
  const auto servers = figures_.servers.find(model);
  const auto counts = figures_.counts.by_pool.find(model);
  const bool away = servers != figures_.servers.end() && servers->second == 0;
  if (away && counts != figures_.counts.by_pool.end() &&
      counts->second.queued >= std::max<std::int64_t>(1, options_.jobs_queued_max / kPartOfAway))
    return later(ErrorCode::overloaded, "too many jobs are waiting for a model that no server has",
                 "queue_full");
  return {};
}

void Background::job_added(const std::string& model) {
  {
    const std::lock_guard lock(figures_mutex_);
    ++figures_.counts.queued;
    ++figures_.counts.by_pool[model].queued;
  }
  wake();
  tell({{"do", "claim"}});
}

void Background::stop_job(const std::string& id) {
  feed(id)->row_changed();
  asio::post(strand_, [this, id] { end_run(id); });
  tell({{"do", "stop"}, {"job", id}});
}

std::shared_ptr<JobEventLog> Background::feed(const std::string& id) {
  const std::lock_guard lock(feeds_mutex_);
  std::erase_if(feeds_, [](const auto& entry) { return entry.second.expired(); });
  auto& entry = feeds_[id];
  auto feed = entry.lock();
  if (!feed) entry = feed = std::make_shared<JobEventLog>();
  return feed;
}

int Background::progress(const std::string& id) const {
  const std::lock_guard lock(feeds_mutex_);
  const auto found = feeds_.find(id);
  const auto feed = found == feeds_.end() ? nullptr : found->second.lock();
  return feed ? feed->progress() : 0;
}

jobstore::Counts Background::counts() const {
  const std::lock_guard lock(figures_mutex_);
  return figures_.counts;
}

Figures Background::figures() const {
  const std::lock_guard lock(figures_mutex_);
  Figures figures = figures_;
  figures.store_up = store_.healthy();
  return figures;
}

std::vector<ServedModel> Background::local_models() const {
  return parts_.local == nullptr ? std::vector<ServedModel>() : parts_.local->models();
}

std::vector<std::string> Background::pools() const {
  std::vector<std::string> names;
  for (const ServedModel& model : local_models())
    if (model.here) names.push_back(model.name);
  return names;
}

// Jobs of one kind share forward passes, so more of what runs already is the best to claim; but now and then
// comes what is next in line, whatever its kind.
std::optional<std::string> Background::key_to_prefer() {
  constexpr int kPreferredMax = 4;
  if (runs_.empty() || last_batch_key_.empty() || preferred_in_a_row_ == kPreferredMax) {
    preferred_in_a_row_ = 0;
    return std::nullopt;
  }
  ++preferred_in_a_row_;
  return last_batch_key_;
}

asio::awaitable<void> Background::claim_jobs() {
  while (!stopping_) {
    if (shared() && !runs_.empty()) co_await pause(options_.claim_delay * static_cast<int>(runs_.size()));
    const int room = options_.jobs_running_max - static_cast<int>(runs_.size());
    // What could not be kept is left to others, or until it can be; what somebody waits for goes on.
    const bool keeps = parts_.pictures.images.check_room().has_value();
    if (room > 0 && !stopping_ && parts_.clock.now() >= not_before_ && (keeps || shared())) {
      const int least = keeps ? std::numeric_limits<int>::min() : kAwaitedPriority;
      auto claimed = co_await store_call<std::vector<Job>>([&](auto reply) {
        store_.claim({pools(), shared() ? 1 : room, options_.worker, key_to_prefer(), least},
                     std::move(reply));
      });
      if (claimed && !claimed->empty()) {
        for (Job& job : *claimed) start_run(std::move(job));
        continue;
      }
    }
    co_await work_signal_.wait(options_.poll);
  }
}

// However it ends, its place is free again; its row goes back when its lease has run out.
void Background::start_run(Job job) {
  const std::pair key{job.id, job.lease};
  const auto place = runs_.emplace(key, nullptr).first;
  try {
    asio::co_spawn(strand_, run(std::move(job)), [this, key](const std::exception_ptr& fault) {
      log_background_fault(fault);
      if (runs_.erase(key) > 0) work_signal_.notify();
    });
  } catch (...) {
    runs_.erase(place);
    throw;
  }
}

asio::awaitable<void> Background::keep_leases() {
  while (!stopping_ || !runs_.empty()) {
    if (options_.device_moves()) {
      co_await renew_all();
      co_await announce_models();
    }
    if (parts_.clock.now() >= reap_not_before_) co_await look_after_others();
    co_await store_call<std::int64_t>([&](auto reply) { store_.expire(std::move(reply)); });
    co_await take_figures();
    co_await renew_signal_.wait(options_.renew);
  }
  if (shared() && options_.jobs_running_max > 0)
    co_await store_call<bool>([&](auto reply) { store_.leave(options_.worker, std::move(reply)); });
}

asio::awaitable<void> Background::renew_all() {
  const auto runs = runs_;
  for (const auto& [key, ignored] : runs) {
    const Lease lease{key.first, key.second};
    const auto held = co_await store_call<bool>(
        [&](auto reply) { store_.renew(lease, progress(lease.id), std::move(reply)); });
    if (!held) co_return store_was_away();
    const auto found = runs_.find(key);
    if (!*held && found != runs_.end() && found->second != nullptr) found->second->cancel();
  }
}

// For servers without models, which know by it what may be asked for.
asio::awaitable<void> Background::announce_models() {
  if (!shared() || options_.jobs_running_max == 0 || stopping_) co_return;
  for (const ServedModel& model : local_models()) {
    if (!model.here) continue;
    co_await store_call<bool>([&](auto reply) {
      store_.announce(model.name, write_model(model), options_.worker, std::move(reply));
    });
  }
}

// Every server may have been kept from renewing: whoever lives shall do so before anybody reaps.
void Background::store_was_away() { reap_not_before_ = parts_.clock.now() + 3 * options_.renew; }

bool Background::runs_here(const std::string& id) const {
  const auto run = runs_.lower_bound({id, 0});
  return run != runs_.end() && run->first.first == id;
}

asio::awaitable<void> Background::pause(std::chrono::milliseconds time) {
  asio::steady_timer timer(strand_);
  timer.expires_after(time);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace diffused::background
