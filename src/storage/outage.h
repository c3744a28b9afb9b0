// Whether another server is away, so that nobody waits for what has just failed.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/result.h"

namespace diffused::storage {

// Any thread; nothing waits.
class Outage {
 public:
  // While it is away, one call in `pause` is let through to see whether it is back.
  Outage(std::chrono::milliseconds pause, const Clock& clock) : pause_(pause), clock_(clock) {}

  // The error with which the last call ended, unless it went well.
  Result<void> check() const {
    const std::lock_guard lock(mutex_);
    return away();
  }
  // Before a call. Error: that of check(), when it need not be tried now.
  Result<void> begin() {
    const std::lock_guard lock(mutex_);
    if (!error_ || clock_.now() < next_) return away();
    next_ = clock_.now() + pause_;
    return {};
  }
  // After a call: an error tells that others would fail alike.
  void end(std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    next_ = clock_.now() + pause_;
  }

 private:
  Result<void> away() const { return error_ ? Result<void>(tl::unexpected(*error_)) : Result<void>(); }

  const std::chrono::milliseconds pause_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::optional<Error> error_;  // guarded by mutex_
  SteadyTime next_;
};

}  // namespace diffused::storage
