// Which models are loaded. Without a memory budget all are, for good. With one, a model that is asked for and
// not loaded is loaded when there is room: models that nobody uses go, those used longest ago first; then
// those in use take no new jobs until their running ones are done. Nothing that runs is ever cut.
//
// Who owns a pipeline (docs/decisions/0002): the pool's thread builds it, which nobody else sees meanwhile;
// then it is lent out, and only the device thread touches its tensors; when the last lease is back, the
// pool's thread frees it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "job/engine_status.h"
#include "job/pipeline.h"
#include "job/weights.h"

namespace diffused::engine {

// A model and the names it is served under.
struct LocalModel {
  std::string name;
  std::vector<std::string> aliases;
  std::int64_t created = 0;            // unix seconds
  std::shared_ptr<Pipeline> pipeline;  // null: not loaded at the moment; `load` and `info` are then given
  // Loads it again; called on the pool's thread. Empty: `pipeline` stays for good.
  std::function<Result<std::shared_ptr<Pipeline>>()> load = {};
  PipelineInfo info = {};  // while `pipeline` is null; else taken from it
  bool pinned = false;     // never unloaded once it is loaded
};

// What of a model never changes, loaded or not.
struct ModelNames {
  std::string name;
  std::vector<std::string> aliases;
  std::int64_t created = 0;
  PipelineInfo info;
};

struct PoolOptions {
  // Of weights, those that several models share counted once; 0: no bound.
  std::uint64_t memory_budget_bytes = 0;
  std::chrono::seconds keep_alive{0};  // unused models go after this time; 0: when room is needed
  // A model that has just been loaded is not asked to leave before this time, so that two that share too
  // little memory do not only take turns loading; and until it is used for the first time it stays for so
  // much longer as those who asked for it were told to wait.
  std::chrono::seconds stay_min{10};
};

// Any thread, except turn().
class ModelPool {
 public:
  // `clock` must outlive this.
  ModelPool(std::vector<LocalModel> models, const PoolOptions& options, const Clock& clock);
  // As stop(). Every lease must be back.
  ~ModelPool();

  // Whether any model may come and go, which needs a thread that calls turn().
  bool moves() const;
  // Starts that thread, which calls `prepare` first; stop() ends it after the load that goes on.
  void start(std::function<void()> prepare);
  void stop();

  std::size_t size() const { return entries_.size(); }
  const ModelNames& names(std::size_t index) const { return entries_[index].names; }

  // The model, which stays loaded until the last copy is gone. Error: unavailable with retry_after, reason
  // "model_loading", when it is not there: it then is on its way. When it could not be loaded: once
  // unavailable, reason "model_load_failed".
  Result<std::shared_ptr<Pipeline>> lease(std::size_t index);

  // What it has counted since the start, and what of it is in memory, others' share included.
  PipelineStats stats(std::size_t index) const;

  // All weights in memory, each once.
  std::uint64_t weight_bytes() const;

  // How the model is kept; `weight_bytes` as stats() has them.
  ModelStatus status(std::size_t index) const;
  // As EngineView::change.
  Result<void> change(std::size_t index, ModelWish wish);
  std::uint64_t memory_budget_bytes() const { return options_.memory_budget_bytes; }

  // Looks once at what is to go and what is to come, and does it; false when there was nothing to do. One
  // thread.
  bool turn();

 private:
  struct Entry {
    ModelNames names;
    std::function<Result<std::shared_ptr<Pipeline>>()> reload;
    bool pinned = false;
    std::shared_ptr<Pipeline> pipeline;    // null while it is not loaded
    std::vector<NetworkWeights> networks;  // that it has, or had when it was last loaded
    std::size_t leases = 0;
    SteadyTime last_used, loaded_at;
    std::optional<SteadyTime> wanted_since;
    bool used = false;      // since it was loaded
    bool leaving = false;   // takes no new lease
    bool unwanted = false;  // is to go as soon as nobody has it
    double load_seconds = 1;
    std::optional<Error> failure;
    PipelineStats past;  // of pipelines that are gone

    bool may_go() const { return pipeline && reload && !pinned; }
    std::uint64_t bytes() const;
  };

  void run();
  void release(std::size_t index);
  void unload(Entry& entry, std::vector<std::shared_ptr<Pipeline>>& gone);
  Entry* next_wanted();
  Entry* oldest(bool in_use);
  bool fits(const Entry& wanted) const;
  bool make_room(const Entry& wanted, std::vector<std::shared_ptr<Pipeline>>& gone);
  void load(std::unique_lock<std::mutex>& lock, Entry& entry);
  bool is_expected(const Entry& entry) const;
  static Error being_loaded(const Entry& entry);

  const PoolOptions options_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> entries_;
  bool news_ = false;  // something that turn() should look at
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace diffused::engine
