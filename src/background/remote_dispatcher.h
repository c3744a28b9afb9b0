// The Dispatcher of a server without models (a gateway): what is submitted becomes a job of the store, which
// a server that has the model makes, and whoever submitted it is told what happens there.
#pragma once

#include <atomic>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "async/wake_signal.h"
#include "background/background.h"
#include "background/job_event_log.h"
#include "jobstore/job_store.h"

namespace diffused::background {

// Any thread, except that drain must not be called on the executor's.
class RemoteDispatcher final : public Dispatcher {
 public:
  // Both must outlive this. This must be drained before it goes: the executor keeps coroutines that refer to
  // it. `asks_pictures`: whether nothing here would notice that the store for pictures is away.
  RemoteDispatcher(Background& background, asio::any_io_executor executor, bool asks_pictures = false);

  // Learns which models the servers on the store have, and begins to look again and again. Waits for the
  // store once.
  void look_for_models();

  // Those that some server has, or had within the last hour; those known longest first.
  std::vector<ServedModel> models() const override;
  bool remembers(const std::string& name) const override;
  // As far as the models' PipelineInfo goes; what only a loaded model knows (its tokenizers' limits, its
  // family's fields) is left to the server that makes the pictures.
  Result<GenerateRequest> resolve(GenerateRequest request) const override;
  // Errors, at once: as resolve; unavailable ("model_away") when no server has the model at present, and
  // those of Background::check_room. All others come as JobFailed, also the refusals of the server that
  // makes the pictures.
  Result<Ticket> submit(GenerateRequest request, SubmitOptions options, EventSink sink) override;

  // Takes nothing more, waits for what is under way, and cancels it once `timeout` has passed.
  void drain(std::chrono::milliseconds timeout);
  // The models of models(), and whether some server has each now.
  std::vector<std::pair<std::string, bool>> model_states() const;
  // How many submitted jobs have not ended.
  std::size_t under_way() const;

 private:
  const Parts& parts() const { return background_.parts(); }

  // One job that somebody here waits for.
  struct RemoteJob {
    GenerateRequest request;
    SubmitOptions options;
    EventSink sink;
    SteadyTime submitted;
    std::shared_ptr<WakeSignal> signal;
    std::string name;  // of its row
    std::string id;    // the same, once there is one
    std::atomic<bool> cancelled = false;
    std::atomic<std::size_t> finish_below = 0;  // as Ticket::finish_early
    bool wants_events() const { return options.step_events || options.previews > 0; }
  };
  // Kept by the coroutine of an remote: when it goes, the remote is no longer under way.
  struct UnderWay {
    RemoteDispatcher& dispatcher;
    std::shared_ptr<RemoteJob> remote;
    ~UnderWay();
  };
  struct Model {
    ServedModel served;
    bool there = true;  // some server has it now
  };

  void learn(const std::vector<jobstore::Announced>& announced);
  void start_looking();
  asio::awaitable<void> keep_looking();
  Result<Ticket> take(GenerateRequest request, SubmitOptions options, EventSink sink);
  Result<Model> find_model(const std::string& name) const;
  bool is_there(const std::string& name) const;

  asio::awaitable<void> run(std::shared_ptr<RemoteJob> remote);
  asio::awaitable<Result<Timings>> make(RemoteJob& remote);
  Result<jobstore::NewJob> write_down(const RemoteJob& remote) const;
  asio::awaitable<Result<jobstore::Job>> follow(RemoteJob& remote);
  asio::awaitable<void> hand_on(RemoteJob& remote, const JobEventLog& feed, EventId& last);
  Result<void> may_go_on(const RemoteJob& remote) const;
  asio::awaitable<Result<Timings>> deliver(RemoteJob& remote, const jobstore::Job& job);
  asio::awaitable<void> clear_away(const std::string& id);

  Background& background_;
  const asio::any_io_executor executor_;
  const asio::strand<asio::any_io_executor> strand_;  // of keep_looking
  WakeSignal look_signal_;
  const bool asks_pictures_;
  SteadyTime ask_pictures_at_;  // on the strand

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  // Guarded by mutex_:
  std::vector<Model> models_;
  std::set<std::string> remembered_;  // names and aliases of models that nobody has had for an hour
  SteadyTime trusted_until_;          // the store was away: until then who was there counts as there
  std::set<std::shared_ptr<RemoteJob>> remotes_;
  bool open_ = true;
  std::atomic<bool> stopping_ = false;  // what is under way is to end
};

}  // namespace diffused::background
