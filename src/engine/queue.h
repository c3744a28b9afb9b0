// Every job that was accepted and has not ended, behind one lock: the door (push), who comes in next (take),
// and the way out. It knows nothing of units; the lock is never held while the device works.
//
// The door. A job is accepted while fewer than jobs_waiting_max jobs wait and less than work_queued_max of
// estimated work is at hand (so a single job may be longer than that). When several users are here, each is
// held to its equal part of both; a user turned away within the last minute counts as here, so that a lone
// user who filled the queue makes room for the one who knocks.
//
// Coming in. A flow may take another row while it holds fewer rows than are free: the first flow gets half of
// rows_active_max, the next a quarter, so a newcomer finds room; and a user without a row may always have
// one. Of the flows that may, the one of the user with the fewest rows, then with the fewest itself, then the
// oldest job's.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/live_job.h"
#include "engine/options.h"
#include "job/engine_status.h"

namespace diffused::engine {

// Where a job stands when it is accepted.
struct Place {
  std::size_t position = 0;  // jobs that are begun before it
  double estimated_start_seconds = 0;
};

// What the device thread finds to do at the queue.
struct Intake {
  struct Ended {
    std::shared_ptr<LiveJob> job;
    Error error;  // cancelled, deadline, or unavailable while draining
  };
  struct Start {
    std::shared_ptr<LiveJob> job;
    std::size_t image_index = 0;
  };
  struct LeftOut {
    std::shared_ptr<LiveJob> job;
    std::size_t pictures = 0;  // to be finished as they are, and not begun
  };
  std::vector<Ended> ended;
  std::vector<LeftOut> left_out;
  std::vector<Start> starts;
};

// Work at hand.
struct QueueLoad {
  std::size_t jobs_waiting = 0;  // no row begun
  std::size_t jobs_running = 0;
  std::size_t rows_active = 0;
  double queued_seconds = 0;  // estimated, waiting and running
};
struct QueueCounts : QueueLoad {
  std::vector<QueueLoad> by_model;
  bool open = true;  // false: draining or stopped
};

class Queue {
 public:
  Queue(const EngineOptions& options, std::size_t models);

  // Any thread; at once. Errors: overloaded "queue_full" with retry_after, unavailable "draining" with
  // retry_after.
  Result<Place> push(JobTicket made, SteadyTime now);

  // Accepts nothing more; jobs that wait end as unavailable, running ones as cancelled once `deadline` has
  // passed. Any thread.
  void close(SteadyTime deadline);

  // Any thread.
  QueueCounts counts() const;
  // What a floating point operation of the model takes, as far as it is known. Any thread.
  double seconds_per_flop(std::size_t model) const;
  // Every job, by arrival. Any thread.
  std::vector<WorkStatus> work(SteadyTime now) const;

  // The rest: device thread only.

  // Waits for something to do. False: closed and empty, and will stay so.
  bool wait();
  // Removes the jobs that are to end (cancelled, out of time, not to be begun any more) and names the rows to
  // begin. Each of the starts counts as active until row_ended or remove.
  Intake take(SteadyTime now);
  void row_ended(const LiveJob& job);
  // The job has ended; its rows with it.
  void remove(const LiveJob& job);
  // What the work at hand is measured with.
  void set_seconds_per_flop(std::size_t model, double seconds_per_flop);

 private:
  struct Entry {
    std::shared_ptr<LiveJob> job;
    std::size_t rows_begun = 0;
    std::size_t rows_ended = 0;
    bool waiting() const { return rows_begun == 0; }
    std::size_t rows_active() const { return rows_begun - rows_ended; }
  };
  struct Backlog {
    std::size_t waiting = 0;  // jobs
    std::size_t jobs = 0;
    double seconds = 0;
  };
  // All of these want mutex_ held.
  double seconds(const Entry& entry) const;
  std::optional<double> seconds_until_room(const Backlog& backlog, double users) const;
  Place place(const std::map<std::string, Backlog>& backlogs, const std::string& user) const;
  std::optional<Error> due_end(const Entry& entry, SteadyTime now) const;
  void leave_out(std::vector<Intake::LeftOut>& left_out);
  void start_rows(std::vector<Intake::Start>& starts);
  std::vector<Entry>::iterator find(const LiveJob& job);
  Error draining_error() const;

  const EngineOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::vector<Entry> entries_;  // by arrival
  std::vector<double> seconds_per_flop_;
  std::map<std::string, SteadyTime> turned_away_;  // users, and when last
  bool open_ = true;
  SteadyTime close_deadline_;
};

}  // namespace diffused::engine
