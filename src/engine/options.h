// The engine's limits, each a named config value. The app fills them in.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "engine/model_pool.h"

namespace diffused::engine {

struct EngineOptions {
  // At the door: beyond either the answer is `overloaded`. A lone user may fill them.
  std::size_t jobs_waiting_max = 256;
  std::chrono::seconds work_queued_max = std::chrono::minutes(10);  // estimated, waiting and running together
  // Rows in flight; a user without any may always have one more. Bounds the memory for latents.
  std::size_t rows_active_max = 64;
  // The most rows tried in one unit; the best number below it is measured (cost_model.h).
  std::size_t batch_rows_max = 16;
  // No unit may take longer, by estimate: what would is not accepted, unless it is no more than a picture of
  // the model's own size takes; and no more rows share a unit than fit. The estimate is as good as the next.
  std::chrono::duration<double> unit_max = std::chrono::hours(24);
  // What the device is taken to do before anything was measured.
  double initial_flops_per_second = 5e11;
  // What clients are told to wait for while the server drains: about the time until another is up.
  std::chrono::seconds drain_retry_after = std::chrono::seconds(10);
  // A unit is overdue after the larger of this and `overdue_factor` times its estimate.
  std::chrono::seconds overdue_min = std::chrono::seconds(30);
  double overdue_factor = 20;
  // Which models stay loaded.
  PoolOptions pool = {};
  // Called first on the device thread, and on the one that loads: thread counts and floating point modes are
  // settings of a thread. May be empty.
  std::function<void()> prepare_device_thread = {};
};

}  // namespace diffused::engine
