// What the background part of a server tells whoever counts. app/background_metrics.h is the implementation
// for Prometheus.
#pragma once

#include <string_view>

namespace diffused::background {

// Called on any thread; must not block and must not throw. Every model is one that a job was accepted for, or
// that a server has: their names are bounded.
class Observer {
 public:
  virtual ~Observer() = default;
  // This server is done with a job that it had claimed: "completed", "failed", "given_back" (it was queued
  // again), "cancelled", "fenced_off" (another server had it by then).
  virtual void run_ended(std::string_view /*model*/, std::string_view /*outcome*/) {}
  // A job that was completed had waited so long, from its acceptance to its first unit of work.
  virtual void waited(std::string_view /*model*/, double /*seconds*/) {}
  // A server fell silent under a job, which is queued again; or has failed, as that was its last attempt.
  virtual void worker_lost(std::string_view /*model*/, bool /*failed*/) {}
  // A job had been queued for as long as it may.
  virtual void gave_up(std::string_view /*model*/) {}
  // A job was not accepted: "queue_full", "model_away", "storage_full", …
  virtual void refused(std::string_view /*model*/, std::string_view /*reason*/) {}
  // A request that waited for another server to make its pictures was answered; or not.
  virtual void answered(std::string_view /*model*/, std::string_view /*reason: empty: well*/,
                        double /*queue_seconds*/, double /*run_seconds*/) {}
};

}  // namespace diffused::background
