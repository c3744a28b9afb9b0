// The device thread's work, turn by turn: admit → plan → run one unit → retire. It has no thread of its own,
// so a test turns it by hand under a fake clock.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/give_way.h"
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
//
// Inside. A unit gives way between its layers (base/give_way.h); then new jobs are begun, those that are to
// end do, and shorter units of whoever is owed more run at once, inside the long one's call. Rows of a unit
// that runs stay until its end, whatever becomes of their job.
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
    std::unique_ptr<Row> row;
    RowDescription description;
    int steps_told = 0;       // steps whose events have been sent
    int steps_skipped = 0;    // as its row had them when it last moved
    bool ending = false;      // it takes no further step
    bool running = false;     // in a unit, which may have given way
    bool gone = false;        // it has left, and is swept out when nothing needs it any more
    bool whole_turn = false;  // it runs inside no other unit: it lacked memory there
  };
  using Members = std::vector<ActiveRow*>;
  class Kept;
  class Halt;

  // A unit on its way.
  struct Running {
    const Members& members;
    std::vector<Flow> flows;  // of the members
    double estimate = 0;      // seconds
    SteadyTime since;         // when its time began that is not yet booked
    double seconds = 0;       // booked, without what ran inside it
    SteadyTime due;           // when it is overdue
    int depth = 1;            // units that are on their way, with it
  };

  bool admit();  // whether any row was begun
  void begin(const Intake::Start& start);
  void run_planned(std::span<const std::size_t> batch, const Members& rows, int depth);
  Result<void> run(const Members& members, int depth);
  void let_others_go_first(Running& unit, WorkElsewhere* elsewhere);
  bool run_inside(const Running& unit, Halt& halt);
  void book(Running& unit);
  Members present();
  std::vector<RowDescription> describe(const Members& rows) const;
  void run_again_alone(const Members& members, const Error& error, bool inside);
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

  std::list<ActiveRow> rows_;             // a list: they stay where they are while others come and go
  std::vector<Intake::Start> postponed_;  // rows whose pipeline is busy
  CostModel costs_;
  Turns turns_;

  // For pulse().
  std::atomic<SteadyTime> last_unit_end_;
  std::atomic<SteadyTime> unit_due_{SteadyTime::max()};
  std::atomic<bool> unit_running_ = false;
};

}  // namespace diffused::engine
