#include "engine/model_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/log.h"

namespace diffused::engine {
namespace {

constexpr double kLoadRetryAfterMin = 1, kLoadRetryAfterMax = 60;  // seconds
// How often what is due by time alone is looked for.
constexpr auto kLook = std::chrono::seconds(1);

// What those who ask for a model that takes so long to load are told.
double wait_seconds(double load_seconds) {
  return std::clamp(std::ceil(load_seconds), kLoadRetryAfterMin, kLoadRetryAfterMax);
}

}  // namespace

ModelPool::ModelPool(std::vector<LocalModel> models, const PoolOptions& options, const Clock& clock)
    : options_(options), clock_(clock) {
  CHECK(!models.empty());
  for (LocalModel& model : models) {
    CHECK(model.pipeline || model.load);
    Entry& entry = entries_.emplace_back();
    entry.names = {model.name, model.aliases, model.created,
                   model.pipeline ? model.pipeline->info() : model.info};
    entry.networks = entry.names.info.networks;
    entry.reload = std::move(model.load);
    entry.pinned = model.pinned;
    entry.pipeline = std::move(model.pipeline);
    entry.last_used = entry.loaded_at = clock.now();
    entry.used = true;  // nobody was told to come back for it
  }
}

ModelPool::~ModelPool() {
  stop();
  for (const Entry& entry : entries_) CHECK(entry.leases == 0);
}

bool ModelPool::moves() const {
  return std::ranges::any_of(entries_, [](const Entry& entry) { return entry.reload != nullptr; });
}

void ModelPool::start(std::function<void()> prepare) {
  thread_ = std::thread([this, prepare = std::move(prepare)] {
    if (prepare) prepare();
    run();
  });
}

void ModelPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void ModelPool::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    news_ = false;
    lock.unlock();
    const bool did = turn();
    lock.lock();
    if (!did) changed_.wait_for(lock, kLook, [this] { return stopping_ || news_; });
  }
}

Result<std::shared_ptr<Pipeline>> ModelPool::lease(std::size_t index) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[index];
  if (entry.failure) {
    const Error failure = *std::exchange(entry.failure, std::nullopt);
    return tl::unexpected(failure);
  }
  if (!entry.pipeline || entry.leaving) {
    if (!entry.wanted_since) entry.wanted_since = clock_.now();
    news_ = true;
    changed_.notify_all();
    return tl::unexpected(being_loaded(entry));
  }
  entry.last_used = clock_.now();
  entry.used = true;
  entry.unwanted = false;
  ++entry.leases;
  return std::shared_ptr<Pipeline>(entry.pipeline.get(), [this, index](Pipeline*) { release(index); });
}

void ModelPool::release(std::size_t index) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[index];
  entry.last_used = clock_.now();
  if (--entry.leases > 0) return;
  news_ = true;
  changed_.notify_all();
}

PipelineStats ModelPool::stats(std::size_t index) const {
  const std::lock_guard lock(mutex_);
  const Entry& entry = entries_[index];
  PipelineStats stats = entry.past;
  if (!entry.pipeline) return stats;
  const PipelineStats now = entry.pipeline->stats();
  stats.prompt_cache_hits += now.prompt_cache_hits;
  stats.prompt_cache_misses += now.prompt_cache_misses;
  stats.steps_skipped += now.steps_skipped;
  stats.prompt_cache_bytes = now.prompt_cache_bytes;
  stats.weight_bytes = entry.bytes();
  return stats;
}

ModelStatus ModelPool::status(std::size_t index) const {
  const std::lock_guard lock(mutex_);
  const Entry& entry = entries_[index];
  ModelStatus status{.name = entry.names.name, .movable = entry.reload != nullptr, .pinned = entry.pinned};
  status.state = entry.pipeline ? (entry.leaving || entry.unwanted ? ModelState::leaving : ModelState::loaded)
                                : (entry.wanted_since ? ModelState::loading : ModelState::unloaded);
  if (entry.pipeline) status.weight_bytes = entry.bytes();
  if (entry.leases == 0)
    status.idle_seconds = std::chrono::duration<double>(clock_.now() - entry.last_used).count();
  return status;
}

Result<void> ModelPool::change(std::size_t index, ModelWish wish) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[index];
  if (!entry.reload)
    return fail(ErrorCode::unsupported,
                "this server keeps all its models loaded: start it with --memory-budget or --keep-alive");
  if (wish == ModelWish::unload && entry.pinned)
    return fail(ErrorCode::invalid_argument, "the model is pinned: unpin it first");
  if (wish == ModelWish::pin || wish == ModelWish::unpin) entry.pinned = wish == ModelWish::pin;
  if (wish == ModelWish::load || wish == ModelWish::pin) entry.unwanted = false;
  if (wish == ModelWish::load && !entry.pipeline && !entry.wanted_since) entry.wanted_since = clock_.now();
  if (wish == ModelWish::unload && entry.pipeline) entry.unwanted = true;
  news_ = true;
  changed_.notify_all();
  return {};
}

bool ModelPool::turn() {
  std::vector<std::shared_ptr<Pipeline>> gone;  // freed without the lock
  std::unique_lock lock(mutex_);
  const SteadyTime now = clock_.now();
  for (Entry& entry : entries_) {
    entry.leaving = false;
    const bool idle = entry.may_go() && entry.leases == 0 && !entry.wanted_since;
    const bool due = options_.keep_alive.count() > 0 && now - entry.last_used >= options_.keep_alive;
    if (idle && (due || entry.unwanted)) unload(entry, gone);
  }
  bool loaded = false;
  if (Entry* const wanted = next_wanted(); wanted && make_room(*wanted, gone)) {
    lock.unlock();
    gone.clear();
    lock.lock();
    load(lock, *wanted);
    loaded = true;
  }
  lock.unlock();
  return loaded || !gone.empty();
}

// The one that has been waited for longest.
ModelPool::Entry* ModelPool::next_wanted() {
  Entry* next = nullptr;
  for (Entry& entry : entries_) {
    if (entry.pipeline) entry.wanted_since.reset();  // it never left
    if (entry.wanted_since && (!next || *entry.wanted_since < *next->wanted_since)) next = &entry;
  }
  return next;
}

// The one that could go and was used longest ago.
ModelPool::Entry* ModelPool::oldest(bool in_use) {
  Entry* oldest = nullptr;
  for (Entry& entry : entries_) {
    if (!entry.may_go() || entry.leaving || (entry.leases > 0) != in_use) continue;
    if (in_use ? clock_.now() - entry.loaded_at < options_.stay_min : is_expected(entry)) continue;
    if (!oldest || entry.last_used < oldest->last_used) oldest = &entry;
  }
  return oldest;
}

// Whether those who asked for it may not have come back yet.
bool ModelPool::is_expected(const Entry& entry) const {
  const auto told = std::chrono::duration<double>(wait_seconds(entry.load_seconds));
  return !entry.used && clock_.now() - entry.loaded_at < options_.stay_min + told;
}

std::uint64_t ModelPool::Entry::bytes() const {
  WeightSum sum;
  sum.add(networks);
  return sum.bytes();
}

std::uint64_t ModelPool::weight_bytes() const {
  const std::lock_guard lock(mutex_);
  WeightSum sum;
  for (const Entry& entry : entries_)
    if (entry.pipeline) sum.add(entry.networks);
  return sum.bytes();
}

// Whether there is room for it beside those that are there and stay.
bool ModelPool::fits(const Entry& wanted) const {
  WeightSum sum;
  sum.add(wanted.networks);
  for (const Entry& entry : entries_)
    if (entry.pipeline && !entry.leaving) sum.add(entry.networks);
  return sum.bytes() <= options_.memory_budget_bytes;
}

// Whether there is room now. If not, enough of those in use are told to leave.
bool ModelPool::make_room(const Entry& wanted, std::vector<std::shared_ptr<Pipeline>>& gone) {
  if (options_.memory_budget_bytes == 0) return true;
  while (!fits(wanted)) {
    Entry* const entry = oldest(/*in_use=*/false);
    if (!entry) break;
    unload(*entry, gone);
  }
  if (fits(wanted)) return true;
  while (!fits(wanted)) {
    Entry* const entry = oldest(/*in_use=*/true);
    if (!entry) break;
    entry->leaving = true;
  }
  return false;
}

void ModelPool::unload(Entry& entry, std::vector<std::shared_ptr<Pipeline>>& gone) {
  const PipelineStats stats = entry.pipeline->stats();
  entry.past.prompt_cache_hits += stats.prompt_cache_hits;
  entry.past.prompt_cache_misses += stats.prompt_cache_misses;
  entry.past.steps_skipped += stats.steps_skipped;
  gone.push_back(std::move(entry.pipeline));
  entry.pipeline.reset();
  entry.unwanted = false;
  log(LogLevel::info, "model_unloaded", {{"model", entry.names.name}, {"bytes", entry.bytes()}});
}

void ModelPool::load(std::unique_lock<std::mutex>& lock, Entry& entry) {
  const SteadyTime start = clock_.now();
  lock.unlock();
  auto loaded = entry.reload();  // nobody changes these while the pipeline is not there
  lock.lock();
  entry.wanted_since.reset();
  entry.last_used = entry.loaded_at = clock_.now();
  const double seconds = std::chrono::duration<double>(entry.loaded_at - start).count();
  if (!loaded) {
    log(LogLevel::error, "model_load_failed",
        {{"model", entry.names.name}, {"message", loaded.error().message}});
    entry.failure = Error{
        ErrorCode::unavailable, fmt::format("The model '{}' could not be loaded.", entry.names.name), "model",
        "model_load_failed", std::chrono::milliseconds(std::llround(kLoadRetryAfterMax * 1000))};
    return;
  }
  entry.pipeline = *std::move(loaded);
  entry.networks = entry.pipeline->info().networks;
  entry.load_seconds = seconds;
  entry.used = false;
  log(LogLevel::info, "model_loaded", {{"model", entry.names.name}, {"seconds", seconds}});
}

Error ModelPool::being_loaded(const Entry& entry) {
  const double wait = wait_seconds(entry.load_seconds);
  return {ErrorCode::unavailable,
          fmt::format("The model '{}' is being loaded; try again in {:.0f} seconds.", entry.names.name, wait),
          "model", "model_loading", std::chrono::milliseconds(std::llround(wait * 1000))};
}

}  // namespace diffused::engine
