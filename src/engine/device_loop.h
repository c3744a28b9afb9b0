// The device thread's work, turn by turn: admit → plan → run one unit → retire. It has no thread of its own,
// so a test turns it by hand under a fake clock.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/batcher.h"
#include "engine/cost_model.h"
#include "engine/observer.h"
#include "engine/queue.h"

namespace diffused::engine {

// How the device is doing.
struct Pulse {
  double seconds_since_unit = 0;  // since the last unit ended, or since start
  bool unit_running = false;
  bool unit_overdue = false;  // it has been running for far longer than estimated: the device may hang
};

// All methods on one thread, the device thread, but for pulse().
//
// Failures. Whatever a Pipeline throws ends only the jobs whose rows were in that unit. If there were several
// rows, each of them is first run again, alone, in a later turn; so a row that has done no wrong, or that
// fits into memory by itself, survives. When a row fails alone, or fails to begin or to give its picture, its
// job fails as a whole.
class DeviceLoop {
 public:
  // Everything passed by reference must outlive this.
  DeviceLoop(const EngineOptions& options, Queue& queue, const Clock& clock, EngineObserver& observer);
  ~DeviceLoop();

  // One turn: ends what is to end, begins what may begin, runs one unit. False when no row is left and none
  // was begun, which means that the queue was empty when it was looked at.
  bool turn();

  // Any thread; without a lock.
  Pulse pulse() const;

 private:
  struct ActiveRow {
    std::shared_ptr<LiveJob> job;
    std::size_t image_index = 0;
    std::unique_ptr<Row> row;  // null: it has left, and is swept out at the end of the turn
    RowDescription description;
    int steps_told = 0;     // steps whose events have been sent
    int steps_skipped = 0;  // as its row had them when it last moved
    bool ending = false;    // it takes no further step
  };

  bool admit();  // whether any row was begun
  void begin(const Intake::Start& start);
  Result<void> run(std::span<const RowDescription> rows, std::span<const std::size_t> batch);
  void run_again_alone(std::span<const std::size_t> batch, const Error& error);
  void advance(ActiveRow& active);
  void finish_early(ActiveRow& active);
  void leave_out(LiveJob& job, std::size_t pictures);
  void tell_step(ActiveRow& active);
  void retire(ActiveRow& active);
  void fail(LiveJob& job, Error error);
  void drop_rows(const LiveJob& job);
  void sweep();
  static Pipeline& pipeline(const LiveJob& job) { return *job.ticket.pipeline; }

  const EngineOptions options_;
  Queue& queue_;
  const Clock& clock_;
  EngineObserver& observer_;

  std::vector<ActiveRow> rows_;
  CostModel costs_;
  Turns turns_;

  // For pulse().
  std::atomic<SteadyTime> last_unit_end_;
  std::atomic<SteadyTime> unit_due_{SteadyTime::max()};
  std::atomic<bool> unit_running_ = false;
};

}  // namespace diffused::engine
