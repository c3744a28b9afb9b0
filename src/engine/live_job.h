// A job from submit to its last event.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/batcher.h"
#include "engine/observer.h"
#include "job/dispatcher.h"
#include "job/pipeline.h"

namespace diffused::engine {

// What submit makes. Constant afterwards, except `cancelled`.
struct JobTicket {
  std::string id;
  std::size_t model = 0;    // index into the dispatcher's list
  GenerateRequest request;  // resolved
  SubmitOptions options;
  EventSink sink;
  double cost_flops = 0;  // all its pictures
  SteadyTime submitted;
  std::shared_ptr<std::atomic<bool>> cancelled;  // shared with the client's Ticket; never null
  std::shared_ptr<Pipeline> pipeline;            // the model, which stays loaded as long as the job lives
  // The pictures below this number are to be finished as they are. Shared as well; null: none.
  std::shared_ptr<std::atomic<std::size_t>> finish_below = {};

  Flow flow() const;
  bool to_be_finished(std::size_t image_index) const {
    return finish_below && image_index < finish_below->load();
  }
};

// Made on any thread, then used on the device thread only, but for `ticket` and `remaining_flops`.
class LiveJob {
 public:
  explicit LiveJob(JobTicket made) : ticket(std::move(made)), remaining_flops(ticket.cost_flops) {}
  LiveJob(const LiveJob&) = delete;
  LiveJob& operator=(const LiveJob&) = delete;
  // Every accepted job ends in exactly one reply: letting go of one that has not ended is a fault of ours.
  ~LiveJob();

  // A unit in which this job took part ran from `start` for `seconds`.
  void add_unit(UnitKind kind, SteadyTime start, double seconds);
  // `flops` of the job's estimated work are behind it.
  void work_done(double flops) { remaining_flops = std::max(0.0, remaining_flops - flops); }
  // Sends an event that is not the last.
  void send(Event event);
  // Sends a picture; after the last one the job is complete() and wants finish().
  void send_picture(std::size_t image_index, Image image, int steps_skipped, SteadyTime now);
  // That many pictures will not come.
  void leave_out(std::size_t pictures) { left_out_ += pictures; }
  bool complete() const { return pictures_ + left_out_ == ticket.request.n(); }

  // The last event. Exactly one of these is called, once.
  void finish(EngineObserver& observer);
  void fail(Error error, EngineObserver& observer);
  bool ended() const { return ended_; }

  const JobTicket ticket;
  std::atomic<double> remaining_flops;  // written by the device thread, read by the queue

 private:
  void end(Event last);

  Timings timings_;
  bool started_ = false;
  bool ended_ = false;
  std::size_t pictures_ = 0, left_out_ = 0;
};

// Whether a preview is due after `step` (1 to steps), `before` being the step that was told of before, when
// `previews` are wanted for a picture of `steps` steps: evenly spread, with the picture itself as the last;
// fewer when there are not enough steps.
bool preview_due(int before, int step, int steps, int previews);

// An error's word for counting: its reason, else its code.
std::string_view reason_word(const Error& error);

}  // namespace diffused::engine
