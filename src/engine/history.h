// The last hour in figures, for people who have no Prometheus.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "engine/observer.h"
#include "job/engine_status.h"

namespace diffused::engine {

// Counts what it is told and passes it on. Any thread; memory is bounded.
class History final : public EngineObserver {
 public:
  static constexpr int kIntervalSeconds = kActivityIntervalSeconds;
  static constexpr std::size_t kIntervals = 360;
  static constexpr std::size_t kSamplesPerInterval = 64;  // jobs whose times are kept
  static constexpr std::size_t kFailures = 20;

  // `clock` and `next` must outlive this.
  History(const Clock& clock, EngineObserver& next) : clock_(clock), next_(next) {}

  void unit_finished(std::string_view model, UnitKind kind, std::size_t rows, double seconds) override;
  void job_finished(std::string_view model, Outcome outcome, std::string_view reason, const Timings& timings,
                    std::size_t images) override;
  void rejected(std::string_view model, std::string_view reason) override;

  // Oldest first; intervals in which nothing happened are there too.
  std::vector<ActivityInterval> activity() const;
  // The newest first.
  std::vector<EngineFailure> failures() const;

 private:
  // With mutex_ held: the interval that is now, after those before it were closed.
  ActivityInterval& now() const;

  const Clock& clock_;
  EngineObserver& next_;
  mutable std::mutex mutex_;
  mutable std::deque<ActivityInterval> intervals_;  // guarded by mutex_, as what follows
  std::deque<EngineFailure> failures_;
};

}  // namespace diffused::engine
