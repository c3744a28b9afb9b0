// START HERE for the room `engine`: the Dispatcher that runs jobs in this process.
//
// submit (any thread) → ModelPool (is the model loaded?) → Queue → DeviceLoop on the one device thread: admit
// → batcher.plan → Pipeline::run → retire. The room decides who runs when, and keeps every promise about
// ends: bounds at the door, one last event per job, cancelling within one unit, failures that stay with their
// rows. It knows no torch, no HTTP and no JSON.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/device_loop.h"
#include "engine/history.h"
#include "engine/model_pool.h"
#include "engine/observer.h"
#include "engine/options.h"
#include "engine/queue.h"
#include "job/dispatcher.h"
#include "job/engine_status.h"

namespace diffused::engine {

struct Health {
  Pulse device;
  QueueCounts queue;
  std::uint64_t weight_bytes = 0;  // in memory, of all models together
};

// Any thread, except that drain, stop_now and the destructor must not be called from an EventSink.
class LocalDispatcher final : public Dispatcher, public EngineView {
 public:
  // Starts the device thread, and the pool's when models may come and go. `models` must not be empty; `clock`
  // and `observer` must outlive this.
  LocalDispatcher(std::vector<LocalModel> models, const EngineOptions& options, const Clock& clock,
                  EngineObserver& observer);
  // As stop_now.
  ~LocalDispatcher() override;

  std::vector<ServedModel> models() const override;
  std::vector<ServedModel> upscalers() const override;
  Result<GenerateRequest> resolve(GenerateRequest request) const override;
  Result<Ticket> submit(GenerateRequest request, SubmitOptions options, EventSink sink) override;
  EngineStatus status() const override;
  std::vector<ActivityInterval> activity() const override { return history_.activity(); }
  Result<void> change(const std::string& model, ModelWish wish) override;

  // No new jobs from now on (unavailable, with retry_after); waiting ones end in the same way; running ones
  // finish, or are cancelled (reason "shutdown") once `timeout` has passed. Returns at once. A later call can
  // only shorten the time.
  void close(std::chrono::milliseconds timeout);
  // Waits until everything has ended after close, no longer than `patience`; whether it has. A unit is never
  // cut short: if the device hangs, it has not.
  bool wait_for_end(std::chrono::milliseconds patience);
  // close, then waits for the end, however long the present unit takes.
  void drain(std::chrono::milliseconds timeout);
  // A drain with no time: running jobs are cancelled after the present unit.
  void stop_now() { drain(std::chrono::milliseconds(0)); }

  // Never waits for the device.
  Health health() const;
  // Of each model, in the order given.
  std::vector<PipelineStats> pipeline_stats() const;

 private:
  void run();
  std::vector<ServedModel> served(bool upscalers) const;
  Result<std::size_t> find_model(const std::string& name) const;
  Result<void> check_unit(std::size_t model, const Pipeline& pipeline, const GenerateRequest& request) const;

  mutable ModelPool pool_;  // outlives the leases that jobs hold
  const std::function<void()> prepare_device_thread_;
  const std::chrono::duration<double> unit_max_;
  const Clock& clock_;
  History history_;  // tells the observer
  Queue queue_;
  DeviceLoop loop_;
  std::mutex join_mutex_;
  std::mutex end_mutex_;
  std::condition_variable end_changed_;
  bool ended_ = false;  // the device thread's work; guarded by end_mutex_
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace diffused::engine
