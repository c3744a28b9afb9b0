// Time as a thing that is passed in, so that tests turn it by hand.
#pragma once

#include <chrono>
#include <cstdint>

namespace diffused {

using SteadyTime = std::chrono::steady_clock::time_point;

// Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic time, for durations and deadlines.
  virtual SteadyTime now() const = 0;
  // Seconds since 1970-01-01 UTC, for what people and files see.
  virtual std::int64_t unix_seconds() const = 0;
  // The same, finer where the clock is.
  virtual std::int64_t unix_milliseconds() const { return 1000 * unix_seconds(); }
  // The same as it would be had nobody set the machine's clock since the process began: for how long things
  // last. What is kept must not be gone because a clock jumped.
  virtual std::int64_t lifetime_seconds() const { return unix_seconds(); }
};

// The machine's clock.
class SystemClock final : public Clock {
 public:
  SteadyTime now() const override { return std::chrono::steady_clock::now(); }
  std::int64_t unix_seconds() const override {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  std::int64_t unix_milliseconds() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  std::int64_t lifetime_seconds() const override {
    return begin_unix_seconds_ + std::chrono::duration_cast<std::chrono::seconds>(now() - begin_).count();
  }

 private:
  const SteadyTime begin_ = std::chrono::steady_clock::now();
  const std::int64_t begin_unix_seconds_ = unix_seconds();
};

}  // namespace diffused
