// What the engine is doing and did in the last hour, as plain values, for those who look at a server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused {

enum class ModelState { loaded, loading, unloaded, leaving };

struct ModelStatus {
  std::string name;
  ModelState state = ModelState::loaded;
  bool movable = false;            // it can be unloaded and loaded again
  bool pinned = false;             // it is never unloaded to make room
  std::uint64_t weight_bytes = 0;  // in memory now, what it shares with others included
  double idle_seconds = 0;         // since it was last used
};

// A job that was accepted and has not ended.
struct WorkStatus {
  std::string id;    // of the Ticket
  std::string user;  // SubmitOptions::user
  std::string model;
  std::size_t pictures = 0;
  bool running = false;   // a picture of it has been begun
  double share_done = 0;  // 0 to 1, of its estimated work
  double seconds_since_submit = 0;
  double seconds_left = 0;  // estimated, of its own work
};

constexpr int kActivityIntervalSeconds = 10;

// A stretch of time. The newest one is not over yet.
struct ActivityInterval {
  std::int64_t begin = 0;     // unix seconds
  std::uint64_t steps = 0;    // denoising steps, counted for each picture
  std::uint64_t batches = 0;  // units of work that made them; steps / batches is the mean batch size
  std::uint64_t pictures = 0;
  std::uint64_t succeeded = 0, failed = 0, cancelled = 0, rejected = 0;  // jobs
  double device_seconds = 0;                                             // that the device worked
  std::vector<float> total_seconds = {};  // of jobs that succeeded, from submit to the last picture; a sample
  std::vector<float> queue_seconds = {};  // of the same jobs, from submit to the first unit
};

struct EngineFailure {
  std::int64_t when = 0;  // unix seconds
  std::string model;
  std::string reason;  // the error's word: "out_of_memory"
};

struct EngineStatus {
  std::vector<ModelStatus> models;        // in the dispatcher's order
  std::vector<WorkStatus> work;           // by arrival
  std::uint64_t weight_bytes = 0;         // of all models, what they share once
  std::uint64_t memory_budget_bytes = 0;  // 0: none
  double queued_seconds = 0;              // estimated work at hand
  double seconds_since_unit = 0;
  bool unit_overdue = false;            // the device may hang
  std::vector<EngineFailure> failures;  // the newest first
};

enum class ModelWish { load, unload, pin, unpin };

// Looks at an engine, and changes which models it keeps. Any thread; never waits for the device.
class EngineView {
 public:
  virtual ~EngineView() = default;
  virtual EngineStatus status() const = 0;
  // The last hour, oldest first, without gaps.
  virtual std::vector<ActivityInterval> activity() const = 0;
  // Returns at once; loading follows, and unloading as soon as nobody uses the model, unless it is asked for
  // before that. Errors: not_found (no such model), unsupported (the server keeps all its models),
  // invalid_argument (a pinned one is to be unloaded).
  virtual Result<void> change(const std::string& model, ModelWish wish) = 0;
};

}  // namespace diffused
