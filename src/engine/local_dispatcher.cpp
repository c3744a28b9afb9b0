#include "engine/local_dispatcher.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/ids.h"

namespace diffused::engine {
namespace {

bool answers_to(const ModelNames& model, const std::string& name) {
  return model.name == name ||
         std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

}  // namespace

LocalDispatcher::LocalDispatcher(std::vector<LocalModel> models, const EngineOptions& options,
                                 const Clock& clock, EngineObserver& observer)
    : pool_(std::move(models), options.pool, clock),
      prepare_device_thread_(options.prepare_device_thread),
      unit_max_(options.unit_max),
      clock_(clock),
      history_(clock, observer),
      queue_(options, pool_.size()),
      loop_(options, queue_, clock, history_),
      thread_([this] { run(); }) {
  if (pool_.moves()) pool_.start(prepare_device_thread_);
}

LocalDispatcher::~LocalDispatcher() { stop_now(); }

void LocalDispatcher::run() {
  if (prepare_device_thread_) prepare_device_thread_();
  while (queue_.wait())
    while (loop_.turn()) {
    }
  const std::lock_guard lock(end_mutex_);
  ended_ = true;
  end_changed_.notify_all();
}

std::vector<ServedModel> LocalDispatcher::models() const { return served(false); }

std::vector<ServedModel> LocalDispatcher::upscalers() const { return served(true); }

std::vector<ServedModel> LocalDispatcher::served(bool upscalers) const {
  std::vector<ServedModel> served;
  for (std::size_t i = 0; i < pool_.size(); ++i) {
    const ModelNames& names = pool_.names(i);
    if ((names.info.enlarges > 0) == upscalers)
      served.push_back({names.name, names.aliases, names.created, names.info});
  }
  return served;
}

Result<std::size_t> LocalDispatcher::find_model(const std::string& name) const {
  for (std::size_t i = 0; i < pool_.size(); ++i)
    if (answers_to(pool_.names(i), name)) return i;
  return fail(ErrorCode::not_found, fmt::format("The model '{}' does not exist.", name), "model",
              "model_not_found");
}

Result<GenerateRequest> LocalDispatcher::resolve(GenerateRequest request) const {
  TRY(const std::size_t model, find_model(request.model));
  request.model = pool_.names(model).name;
  TRY(const auto pipeline, pool_.lease(model));
  TRY(GenerateRequest resolved, pipeline->resolve(std::move(request)));
  TRY_VOID(check_unit(model, *pipeline, resolved));
  return resolved;
}

// A unit is never cut short: whoever waits behind it, and whoever wants the server to end, waits for its end.
Result<void> LocalDispatcher::check_unit(std::size_t model, const Pipeline& pipeline,
                                         const GenerateRequest& request) const {
  const double flops = pipeline.unit_flops(request);
  const double seconds = flops * queue_.seconds_per_flop(model);
  if (seconds <= unit_max_.count()) return {};
  GenerateRequest usual = request;
  usual.width = pipeline.info().default_width;
  usual.height = pipeline.info().default_height;
  if (flops <= pipeline.unit_flops(usual)) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("A picture of {}x{} would hold the device for about {:.1f} seconds at a time, which is "
                  "more than the {:.1f} that are allowed: ask for a smaller one.",
                  *request.width, *request.height, seconds, unit_max_.count()),
      "width", "request_too_costly");
}

Result<Ticket> LocalDispatcher::submit(GenerateRequest request, SubmitOptions options, EventSink sink) {
  TRY(const std::size_t model, find_model(request.model));
  const std::string& name = pool_.names(model).name;
  request.model = name;

  JobTicket made;
  auto pipeline = pool_.lease(model);
  if (!pipeline) {
    history_.rejected(name, reason_word(pipeline.error()));
    return tl::unexpected(std::move(pipeline).error());
  }
  made.pipeline = *std::move(pipeline);
  TRY(made.request, made.pipeline->resolve(std::move(request)));
  if (auto short_enough = check_unit(model, *made.pipeline, made.request); !short_enough) {
    history_.rejected(name, reason_word(short_enough.error()));
    return tl::unexpected(std::move(short_enough).error());
  }
  CHECK(made.request.n() > 0);
  made.id = random_id("job_");
  made.model = model;
  made.options = std::move(options);
  made.sink = std::move(sink);
  made.cost_flops = made.pipeline->cost_flops(made.request);
  made.submitted = clock_.now();
  made.cancelled = std::make_shared<std::atomic<bool>>(false);

  made.finish_below = std::make_shared<std::atomic<std::size_t>>(0);

  const std::string id = made.id;
  const auto cancelled = made.cancelled;
  const auto finish_below = made.finish_below;
  const auto place = queue_.push(std::move(made), clock_.now());
  if (!place) {
    history_.rejected(name, reason_word(place.error()));
    return tl::unexpected(place.error());
  }
  // The loop looks at both every turn; a device thread that sleeps has no job that could be cancelled.
  return Ticket(
      id, place->position, place->estimated_start_seconds, [cancelled] { cancelled->store(true); },
      [finish_below](std::size_t pictures) { finish_below->store(pictures); });
}

EngineStatus LocalDispatcher::status() const {
  EngineStatus status;
  for (std::size_t i = 0; i < pool_.size(); ++i) status.models.push_back(pool_.status(i));
  status.work = queue_.work(clock_.now());
  status.weight_bytes = pool_.weight_bytes();
  status.memory_budget_bytes = pool_.memory_budget_bytes();
  for (const WorkStatus& work : status.work) status.queued_seconds += work.seconds_left;
  const Pulse pulse = loop_.pulse();
  status.seconds_since_unit = pulse.seconds_since_unit;
  status.unit_overdue = pulse.unit_overdue;
  status.failures = history_.failures();
  return status;
}

Result<void> LocalDispatcher::change(const std::string& model, ModelWish wish) {
  TRY(const std::size_t index, find_model(model));
  return pool_.change(index, wish);
}

void LocalDispatcher::close(std::chrono::milliseconds timeout) { queue_.close(clock_.now() + timeout); }

bool LocalDispatcher::wait_for_end(std::chrono::milliseconds patience) {
  std::unique_lock lock(end_mutex_);
  return end_changed_.wait_for(lock, patience, [this] { return ended_; });
}

void LocalDispatcher::drain(std::chrono::milliseconds timeout) {
  close(timeout);
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
  pool_.stop();
}

Health LocalDispatcher::health() const { return {loop_.pulse(), queue_.counts(), pool_.weight_bytes()}; }

std::vector<PipelineStats> LocalDispatcher::pipeline_stats() const {
  std::vector<PipelineStats> stats;
  for (std::size_t i = 0; i < pool_.size(); ++i) stats.push_back(pool_.stats(i));
  return stats;
}

}  // namespace diffused::engine
