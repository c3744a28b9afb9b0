// What the engine tells whoever counts. metrics.h is the implementation for Prometheus.
#pragma once

#include <cstddef>
#include <string_view>

#include "job/dispatcher.h"
#include "job/pipeline.h"

namespace diffused::engine {

enum class Outcome { succeeded, failed, cancelled };

// Must not block and must not throw. unit_finished and job_finished are called on the device thread, rejected
// on any. `model` is always the name of a served model.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  // A unit ran with `rows` rows, well or not.
  virtual void unit_finished(std::string_view /*model*/, UnitKind, std::size_t /*rows*/, double /*seconds*/) {
  }
  // An accepted job has ended. `reason` is empty for one that succeeded.
  virtual void job_finished(std::string_view /*model*/, Outcome, std::string_view /*reason*/, const Timings&,
                            std::size_t /*images*/) {}
  // A job was not accepted: "queue_full", "draining".
  virtual void rejected(std::string_view /*model*/, std::string_view /*reason*/) {}
};

}  // namespace diffused::engine
