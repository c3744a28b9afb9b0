// How the api room gets pictures made, wherever that happens: in this process (engine/local_dispatcher.h), or
// by other servers on a job store (api/store_dispatcher.h).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "job/job.h"

namespace diffused {

// Seconds spent in each stage of a job, on the device unless said otherwise.
struct Timings {
  double queue_seconds = 0;   // from submit to the first unit
  double encode_seconds = 0;  // prompt encoding
  double denoise_seconds = 0;
  double decode_seconds = 0;
  double total_seconds = 0;  // from submit to the last picture
};

// One denoising step of one picture is done.
struct StepDone {
  std::size_t image_index = 0;
  int step = 0;  // steps done, 1 to steps
  int steps = 0;
};
// A rough picture of the present latents, sent when asked for in SubmitOptions.
struct PreviewReady {
  std::size_t image_index = 0;
  int step = 0;
  Image image;
};
// A finished picture.
struct ImageReady {
  std::size_t image_index = 0;
  std::uint64_t seed = 0;
  Image image;
  int steps_skipped = 0;  // as Row has them
};
// The last event of a job that succeeded: every picture has been sent, but for those that
// Ticket::finish_early left out.
struct JobDone {
  Timings timings;
};
// The last event of a job that failed or was cancelled.
struct JobFailed {
  Error error;
};
using Event = std::variant<StepDone, PreviewReady, ImageReady, JobDone, JobFailed>;

// Receives a job's events, in order, the last being exactly one JobDone or JobFailed; nothing comes after
// that. Called on the device thread: it must not block and must not throw; it hands the event to where it is
// wanted.
using EventSink = std::function<void(Event)>;

struct SubmitOptions {
  std::string user;        // whose share of the machine this takes: a key's name, else an address
  std::string request_id;  // of the request that it came with, for people who follow it
  std::string trace;       // W3C's traceparent that came with it, or empty
  SteadyTime deadline = SteadyTime::max();  // past it the job fails with ErrorCode::deadline
  int previews = 0;                         // how many PreviewReady events per picture, spread over the steps
  bool step_events = false;                 // whether StepDone events are wanted
};

// A place in the queue. Move-only; destroying it cancels the job if it has not ended. Any one thread at a
// time.
class Ticket {
 public:
  Ticket() = default;
  Ticket(std::string id, std::size_t position, double estimated_start_seconds, std::function<void()> cancel,
         std::function<void(std::size_t)> finish_early = {})
      : id_(std::move(id)),
        position_(position),
        estimated_start_seconds_(estimated_start_seconds),
        cancel_(std::move(cancel)),
        finish_early_(std::move(finish_early)) {}
  Ticket(Ticket&& other) noexcept { *this = std::move(other); }
  Ticket& operator=(Ticket&& other) noexcept {
    if (this == &other) return *this;
    cancel();
    id_ = std::move(other.id_);
    position_ = other.position_;
    estimated_start_seconds_ = other.estimated_start_seconds_;
    cancel_ = std::exchange(other.cancel_, nullptr);
    finish_early_ = std::exchange(other.finish_early_, nullptr);
    return *this;
  }
  ~Ticket() { cancel(); }

  const std::string& id() const { return id_; }
  std::size_t position() const { return position_; }  // jobs ahead at the time of submitting
  double estimated_start_seconds() const { return estimated_start_seconds_; }
  // Asks that the first `pictures` of the job take no further step: each comes as it is, within a unit and
  // its decoding; one of which there is nothing to be seen is left out. Harmless when the job has ended.
  void finish_early(std::size_t pictures) {
    if (finish_early_) finish_early_(pictures);
  }
  // Asks for an end within one unit; harmless when the job has ended.
  void cancel() {
    if (auto cancel = std::exchange(cancel_, nullptr)) cancel();
  }

 private:
  std::string id_;
  std::size_t position_ = 0;
  double estimated_start_seconds_ = 0;
  std::function<void()> cancel_;
  std::function<void(std::size_t)> finish_early_;
};

// A model that can be asked for, as GET /v1/models tells it.
struct ServedModel {
  std::string name;                  // what clients put in "model"
  std::vector<std::string> aliases;  // other names for it
  std::int64_t created = 0;          // unix seconds: when it was loaded
  PipelineInfo info;
  bool here = true;  // whether this process makes its pictures
};

// The model of that name; else the one that has it among its aliases; else the end.
inline std::vector<ServedModel>::const_iterator find_named(const std::vector<ServedModel>& models,
                                                           const std::string& name) {
  const auto named = std::ranges::find(models, name, &ServedModel::name);
  if (named != models.end()) return named;
  return std::ranges::find_if(
      models, [&](const ServedModel& model) { return std::ranges::count(model.aliases, name) > 0; });
}

// Any thread.
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;

  // No two of one name; the first is the default.
  virtual std::vector<ServedModel> models() const = 0;

  // What makes pictures larger (PipelineInfo::enlarges), in this process alone. No two of one name, and none
  // of a name in models(). A request for one needs a picture, and a seed, which counts for nothing.
  virtual std::vector<ServedModel> upscalers() const { return {}; }

  // Whether a model that models() does not show had this name or alias once, on any server of the store. No
  // other model may answer to it.
  virtual bool remembers(const std::string& /*name*/) const { return false; }

  // The request with its model's name and defaults filled in. Errors: as those of submit that lie in the
  // request.
  virtual Result<GenerateRequest> resolve(GenerateRequest request) const = 0;

  // Resolves the request against its model and queues it. Errors, at once: not_found (no such model),
  // invalid_argument and unsupported (from Pipeline::resolve), overloaded (queue or user's share full, with
  // retry_after), unavailable (draining). After an error `sink` is never called.
  virtual Result<Ticket> submit(GenerateRequest request, SubmitOptions options, EventSink sink) = 0;
};

}  // namespace diffused
