// A clock that a test turns by hand.
#pragma once

#include <atomic>
#include <chrono>

#include "base/clock.h"

namespace diffused::test {

// Any thread.
class FakeClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(SteadyTime::duration(ticks_.load())); }
  std::int64_t unix_seconds() const override {
    return 1'700'000'000 + ticks_.load() / SteadyTime::period::den;
  }
  std::int64_t unix_milliseconds() const override {
    return 1'700'000'000'000 + 1000 * ticks_.load() / SteadyTime::period::den;
  }
  void advance(double seconds) {
    ticks_ +=
        std::chrono::duration_cast<SteadyTime::duration>(std::chrono::duration<double>(seconds)).count();
  }
  double seconds() const { return std::chrono::duration<double>(now().time_since_epoch()).count(); }

 private:
  std::atomic<SteadyTime::rep> ticks_ = 0;
};

}  // namespace diffused::test
