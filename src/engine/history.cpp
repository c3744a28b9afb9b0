#include "engine/history.h"

namespace diffused::engine {

ActivityInterval& History::now() const {
  const std::int64_t unix_now = clock_.unix_seconds();
  const std::int64_t begin = unix_now - unix_now % kIntervalSeconds;
  // A clock that was set back, or far ahead, begins a new hour.
  const std::int64_t span = kIntervalSeconds * static_cast<std::int64_t>(kIntervals);
  if (!intervals_.empty() && (intervals_.back().begin > begin || intervals_.back().begin < begin - span))
    intervals_.clear();
  if (intervals_.empty()) intervals_.push_back({.begin = begin});
  while (intervals_.back().begin < begin) {
    intervals_.push_back({.begin = intervals_.back().begin + kIntervalSeconds});
    if (intervals_.size() > kIntervals) intervals_.pop_front();
  }
  return intervals_.back();
}

void History::unit_finished(std::string_view model, UnitKind kind, std::size_t rows, double seconds) {
  next_.unit_finished(model, kind, rows, seconds);
  const std::lock_guard lock(mutex_);
  ActivityInterval& interval = now();
  interval.device_seconds += seconds;
  if (kind != UnitKind::step) return;
  interval.steps += rows;
  ++interval.batches;
}

void History::job_finished(std::string_view model, Outcome outcome, std::string_view reason,
                           const Timings& timings, std::size_t images) {
  next_.job_finished(model, outcome, reason, timings, images);
  const std::lock_guard lock(mutex_);
  ActivityInterval& interval = now();
  ++(outcome == Outcome::succeeded ? interval.succeeded
     : outcome == Outcome::failed  ? interval.failed
                                   : interval.cancelled);
  if (outcome == Outcome::failed) {
    failures_.push_front({clock_.unix_seconds(), std::string(model), std::string(reason)});
    if (failures_.size() > kFailures) failures_.pop_back();
  }
  if (outcome != Outcome::succeeded) return;
  interval.pictures += images;
  if (interval.total_seconds.size() >= kSamplesPerInterval) return;
  interval.total_seconds.push_back(static_cast<float>(timings.total_seconds));
  interval.queue_seconds.push_back(static_cast<float>(timings.queue_seconds));
}

void History::rejected(std::string_view model, std::string_view reason) {
  next_.rejected(model, reason);
  const std::lock_guard lock(mutex_);
  ++now().rejected;
}

std::vector<ActivityInterval> History::activity() const {
  const std::lock_guard lock(mutex_);
  now();
  return {intervals_.begin(), intervals_.end()};
}

std::vector<EngineFailure> History::failures() const {
  const std::lock_guard lock(mutex_);
  return {failures_.begin(), failures_.end()};
}

}  // namespace diffused::engine
