// Keeps a job's events and knows what a well-formed reply is.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

#include "base/check.h"
#include "job/dispatcher.h"

namespace diffused::test {

// Any thread. Copies share what was collected.
class Collector {
 public:
  EventSink sink() {
    return [shared = shared_](Event event) {
      const std::lock_guard lock(shared->mutex);
      CHECK(!shared->ended);  // nothing comes after the last event
      shared->ended = std::holds_alternative<JobDone>(event) || std::holds_alternative<JobFailed>(event);
      shared->events.push_back(std::move(event));
      shared->changed.notify_all();
    };
  }

  bool ended() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->ended;
  }
  std::vector<Event> events() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->events;
  }
  // Blocks until the last event has come, and returns its error: none when the job succeeded.
  std::optional<Error> wait() const {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [&] { return shared_->ended; });
    const auto* failed = std::get_if<JobFailed>(&shared_->events.back());
    return failed ? std::optional(failed->error) : std::nullopt;
  }
  // The events of one kind, in order.
  template <typename Kind>
  std::vector<Kind> all() const {
    std::vector<Kind> found;
    for (const Event& event : events())
      if (const auto* kind = std::get_if<Kind>(&event)) found.push_back(*kind);
    return found;
  }

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Event> events;
    bool ended = false;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace diffused::test
