// GET /v1/status: what the server is doing. GET /v1/status/history: the last hour in figures.
// POST /v1/models/{id}/{change}: an operator's say in which models are loaded.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "api/endpoints.h"
#include "api/keys.h"
#include "api/openai/answer.h"
#include "async/offload.h"

namespace diffused::api {
namespace {

std::string_view model_state_word(ModelState state) {
  switch (state) {
    case ModelState::loaded:
      return "loaded";
    case ModelState::loading:
      return "loading";
    case ModelState::unloaded:
      return "unloaded";
    case ModelState::leaving:
      return "leaving";
  }
  return {};
}

json::array describe_kept_models(const Api& api, const EngineStatus& engine) {
  json::array models;
  std::vector<ServedModel> served = api.dispatcher.models();
  std::ranges::move(api.dispatcher.upscalers(), std::back_inserter(served));
  for (const ModelStatus& model : engine.models) {
    const auto info = std::ranges::find(served, model.name, &ServedModel::name);
    if (info == served.end()) continue;
    const auto is_its = [&](const WorkStatus& work) { return work.model == model.name; };
    const auto running = [&](const WorkStatus& work) { return is_its(work) && work.running; };
    const auto all = std::ranges::count_if(engine.work, is_its);
    const auto begun = std::ranges::count_if(engine.work, running);
    models.push_back(json::object{{"id", model.name},
                                  {"state", model_state_word(model.state)},
                                  {"movable", model.movable},
                                  {"pinned", model.pinned},
                                  {"weight_bytes", model.weight_bytes},
                                  {"idle_seconds", model.idle_seconds},
                                  {"jobs_waiting", all - begun},
                                  {"jobs_running", begun},
                                  {"pipeline", info->info.class_name},
                                  {"device", info->info.device},
                                  {"dtype", info->info.dtype}});
  }
  return models;
}

// The caller's own work, and everybody's for an operator.
json::array describe_work(const EngineStatus& engine, const std::string& user, bool everybody) {
  json::array all;
  std::size_t waiting = 0;
  for (const WorkStatus& work : engine.work) {
    const std::size_t before = waiting;
    if (!work.running) ++waiting;
    if (!everybody && work.user != user) continue;
    json::object item{{"id", work.id},
                      {"user", work.user},
                      {"model", work.model},
                      {"n", work.pictures},
                      {"state", work.running ? "running" : "waiting"},
                      {"share_done", work.share_done},
                      {"seconds", work.seconds_since_submit},
                      {"seconds_left", work.seconds_left}};
    item["waiting_before"] = work.running ? json::value(nullptr) : json::value(before);
    all.push_back(std::move(item));
  }
  return all;
}

json::array describe_failures(const EngineStatus& engine) {
  json::array failures;
  for (const EngineFailure& failure : engine.failures)
    failures.push_back(
        json::object{{"time", failure.when}, {"model", failure.model}, {"code", failure.reason}});
  return failures;
}

// The value below which that share of the samples lies; null of none. Reorders them.
json::value quantile(std::vector<float>& samples, double share) {
  if (samples.empty()) return nullptr;
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(samples.size())));
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::ranges::nth_element(samples, at);
  return *at;
}

json::object quantiles(std::vector<float> samples) {
  return {
      {"p50", quantile(samples, 0.5)}, {"p95", quantile(samples, 0.95)}, {"p99", quantile(samples, 0.99)}};
}

// The hour as one list for each figure, the oldest interval first.
json::object describe_activity(std::vector<ActivityInterval> intervals) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t ActivityInterval::*>, 7> kCounts{
      {{"steps", &ActivityInterval::steps},
       {"batches", &ActivityInterval::batches},
       {"pictures", &ActivityInterval::pictures},
       {"succeeded", &ActivityInterval::succeeded},
       {"failed", &ActivityInterval::failed},
       {"cancelled", &ActivityInterval::cancelled},
       {"rejected", &ActivityInterval::rejected}}};
  json::object columns;
  const auto column = [&](std::string_view name, const auto& value) {
    json::array values;
    for (ActivityInterval& interval : intervals) values.emplace_back(value(interval));
    columns[json::string_view(name.data(), name.size())] = std::move(values);
  };
  column("time", [](const ActivityInterval& interval) { return interval.begin; });
  for (const auto& [name, count] : kCounts)
    column(name, [count = count](const ActivityInterval& interval) { return interval.*count; });
  column("device_seconds", [](const ActivityInterval& interval) { return interval.device_seconds; });
  column("total_p50", [](ActivityInterval& interval) { return quantile(interval.total_seconds, 0.5); });
  column("total_p95", [](ActivityInterval& interval) { return quantile(interval.total_seconds, 0.95); });
  column("queue_p95", [](ActivityInterval& interval) { return quantile(interval.queue_seconds, 0.95); });
  return columns;
}

std::vector<float> all_samples(const std::vector<ActivityInterval>& intervals,
                               std::vector<float> ActivityInterval::*samples) {
  std::vector<float> all;
  for (const ActivityInterval& interval : intervals)
    all.insert(all.end(), (interval.*samples).begin(), (interval.*samples).end());
  return all;
}

json::object describe_history(std::vector<ActivityInterval> activity) {
  json::object body{{"object", "status.history"},
                    {"interval_seconds", kActivityIntervalSeconds},
                    {"total_seconds", quantiles(all_samples(activity, &ActivityInterval::total_seconds))},
                    {"queue_seconds", quantiles(all_samples(activity, &ActivityInterval::queue_seconds))}};
  body["activity"] = describe_activity(std::move(activity));
  return body;
}

std::optional<ModelWish> model_wish_of(std::string_view word) {
  if (word == "load") return ModelWish::load;
  if (word == "unload") return ModelWish::unload;
  if (word == "pin") return ModelWish::pin;
  if (word == "unpin") return ModelWish::unpin;
  return std::nullopt;
}

Result<void> change_kept(const Api& api, const http::Request& request) {
  const std::string& change = request.parameters.at("change");
  const auto wish = model_wish_of(change);
  if (!wish)
    return fail(ErrorCode::not_found,
                fmt::format("a model cannot be told to \"{}\": load, unload, pin or unpin", change));
  if (!is_operator(request, api.options.keys.get()))
    return fail(ErrorCode::forbidden, "this needs an operator's key: `diffused key NAME --operator`");
  return api.engine->change(request.parameters.at("id"), *wish);
}

}  // namespace

asio::awaitable<void> show_status(const Api& api, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  const bool everybody = is_operator(request, api.options.keys.get());
  const Health health = api.health();
  const EngineStatus engine = api.engine->status();
  const auto running = std::ranges::count_if(engine.work, &WorkStatus::running);
  json::object body{{"object", "status"},
                    {"version", api.options.version},
                    {"time", api.clock.unix_seconds()},
                    {"ready", health.ready},
                    {"checks", health.checks},
                    {"operator", everybody},
                    {"models", describe_kept_models(api, engine)},
                    {"weight_bytes", engine.weight_bytes},
                    {"memory_budget_bytes", engine.memory_budget_bytes},
                    {"jobs_waiting", engine.work.size() - static_cast<std::size_t>(running)},
                    {"jobs_running", running},
                    {"queued_seconds", engine.queued_seconds},
                    {"work", describe_work(engine, user_of(request), everybody)},
                    {"failures", describe_failures(engine)}};
  co_await send_json(exchange, body);
}

asio::awaitable<void> show_history(const Api& api, http::Exchange& exchange) {
  // An hour of samples is sorted.
  const json::object body = co_await offload(api.workers, user_of(exchange.request()),
                                             [&] { return describe_history(api.engine->activity()); });
  co_await send_large_json(api, exchange, body);
}

asio::awaitable<void> change_model(const Api& api, http::Exchange& exchange) {
  if (auto changed = change_kept(api, exchange.request()); !changed)
    co_return co_await send_error(exchange, changed.error());
  const EngineStatus engine = api.engine->status();
  const json::object body{{"object", "list"}, {"data", describe_kept_models(api, engine)}};
  co_await send_json(exchange, body);
}

}  // namespace diffused::api
