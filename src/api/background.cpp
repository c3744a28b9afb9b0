#include "api/background.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "api/ask.h"
#include "api/errors.h"
#include "api/model_note.h"
#include "base/log.h"

namespace diffused::api {

using jobstore::Job;
using jobstore::Lease;

void log_fault(const std::exception_ptr& fault) {
  try {
    if (fault) std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    log(LogLevel::error, "background_fault", {{"error", error.what()}});
  }
}

Background::Background(const Api& api, jobstore::JobStore& store, storage::BlobStore& inputs,
                       BackgroundOptions options, asio::any_io_executor executor)
    : api_(api),
      store_(store),
      inputs_(inputs),
      options_(std::move(options)),
      strand_(asio::make_strand(std::move(executor))),
      work_bell_(strand_),
      renew_bell_(strand_) {}

Background::~Background() { store_.hear(nullptr); }

void Background::start() {
  store_.hear([this](const std::string& message) { asio::co_spawn(strand_, hear(message), log_fault); });
  asio::co_spawn(strand_, claim_jobs(), log_fault);
  asio::co_spawn(strand_, keep_leases(), log_fault);
}

void Background::stop() {
  stopping_ = true;
  work_bell_.ring();
  renew_bell_.ring();
}

Result<void> Background::check_room() const {
  if (stopping_) return later(ErrorCode::unavailable, "the server is shutting down", "draining");
  if (pictures_full_) return later(ErrorCode::unavailable, "the disk for pictures is full", "storage_full");
  if (queued_ >= options_.jobs_queued_max)
    return later(ErrorCode::overloaded, "too many jobs are waiting", "queue_full");
  return {};
}

void Background::job_added() {
  ++queued_;
  wake();
  tell({{"do", "claim"}});
}

void Background::stop_job(const std::string& id) {
  feed(id)->row_changed();
  asio::post(strand_, [this, id] { end_run(id); });
  tell({{"do", "stop"}, {"job", id}});
}

std::shared_ptr<JobFeed> Background::feed(const std::string& id) {
  const std::lock_guard lock(feeds_mutex_);
  std::erase_if(feeds_, [](const auto& entry) { return entry.second.expired(); });
  auto& entry = feeds_[id];
  auto feed = entry.lock();
  if (!feed) entry = feed = std::make_shared<JobFeed>();
  return feed;
}

int Background::progress(const std::string& id) const {
  const std::lock_guard lock(feeds_mutex_);
  const auto found = feeds_.find(id);
  const auto feed = found == feeds_.end() ? nullptr : found->second.lock();
  return feed ? feed->progress() : 0;
}

BackgroundFigures Background::figures() const {
  return {counts(), store_.healthy(), completed_, failed_, given_back_, fenced_off_, reaped_};
}

std::vector<std::string> Background::pools() const {
  std::vector<std::string> names;
  for (const ServedModel& model : api_.dispatcher.models()) names.push_back(model.name);
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
  const std::string worker = "pid " + std::to_string(::getpid());
  while (!stopping_) {
    const bool shared = options_.claim_delay.count() > 0;
    if (shared && !runs_.empty()) co_await pause(options_.claim_delay * static_cast<int>(runs_.size()));
    const int room = options_.jobs_running_max - static_cast<int>(runs_.size());
    // What could not be kept is left to others, or until it can be.
    if (room > 0 && !stopping_ && api_.clock.now() >= not_before_ && api_.images.check_room()) {
      auto claimed = co_await ask<std::vector<Job>>([&](auto reply) {
        store_.claim({pools(), shared ? 1 : room, worker, key_to_prefer()}, std::move(reply));
      });
      if (claimed && !claimed->empty()) {
        for (Job& job : *claimed) {
          runs_[{job.id, job.lease}] = nullptr;
          asio::co_spawn(strand_, run(std::move(job)), log_fault);
        }
        continue;
      }
    }
    co_await work_bell_.wait(options_.poll);
  }
}

asio::awaitable<void> Background::keep_leases() {
  while (!stopping_ || !runs_.empty()) {
    if (options_.device_moves()) {
      co_await renew_all();
      co_await announce_models();
    }
    if (api_.clock.now() >= reap_not_before_) {
      const auto reaped = co_await ask<std::int64_t>([&](auto reply) { store_.reap(std::move(reply)); });
      if (!reaped) store_was_away();
      if (reaped && *reaped > 0) {
        log(LogLevel::warning, "leases_ran_out", {{"jobs", *reaped}});
        reaped_ += static_cast<std::uint64_t>(*reaped);
        work_bell_.ring();
      }
    }
    co_await ask<std::int64_t>([&](auto reply) { store_.expire(std::move(reply)); });
    const auto counts = co_await ask<jobstore::Counts>([&](auto reply) { store_.count(std::move(reply)); });
    if (!counts) store_was_away();
    if (counts) {
      queued_ = counts->queued;
      running_ = counts->running;
      queued_cost_ = counts->queued_cost;
    }
    co_await renew_bell_.wait(options_.renew);
  }
}

asio::awaitable<void> Background::renew_all() {
  const auto runs = runs_;
  for (const auto& [key, ignored] : runs) {
    const Lease lease{key.first, key.second};
    const auto held =
        co_await ask<bool>([&](auto reply) { store_.renew(lease, progress(lease.id), std::move(reply)); });
    if (!held) co_return store_was_away();
    const auto found = runs_.find(key);
    if (!*held && found != runs_.end() && found->second != nullptr) found->second->cancel();
  }
}

// For servers without models, which know by it what may be asked for.
asio::awaitable<void> Background::announce_models() {
  if (options_.claim_delay.count() == 0 || options_.jobs_running_max == 0 || stopping_) co_return;
  for (const ServedModel& model : api_.dispatcher.models())
    co_await ask<bool>(
        [&](auto reply) { store_.announce(model.name, write_model(model), std::move(reply)); });
}

// Every server may have been kept from renewing: whoever lives shall do so before anybody reaps.
void Background::store_was_away() { reap_not_before_ = api_.clock.now() + 3 * options_.renew; }

bool Background::runs_here(const std::string& id) const {
  const auto run = runs_.lower_bound({id, 0});
  return run != runs_.end() && run->first.first == id;
}

asio::awaitable<void> Background::pause(std::chrono::milliseconds time) {
  asio::steady_timer timer(strand_);
  timer.expires_after(time);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace diffused::api
