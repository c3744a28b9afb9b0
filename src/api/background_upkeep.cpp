// What a server does for jobs that are not its own, and what it knows of the store as a whole.
#include "api/ask.h"
#include "api/background.h"
#include "api/errors.h"
#include "api/openai/job_object.h"
#include "base/json_text.h"
#include "base/log.h"

namespace diffused::api {

using jobstore::Job;

namespace {
constexpr std::chrono::minutes kUpkeepInterval{1};
}  // namespace

// Jobs of servers that are silent, and of models that nobody has.
asio::awaitable<void> Background::look_after_others() {
  const auto reaped = co_await ask<std::vector<Job>>([&](auto reply) { store_.reap(std::move(reply)); });
  if (!reaped) co_return store_was_away();
  for (const Job& job : *reaped) {
    const bool failed = job.state == jobstore::JobState::failed;
    json::object fields = fields_of(job);
    fields["state"] = failed ? "failed" : "queued";
    log(LogLevel::warning, "worker_lost", std::move(fields));
    observer().worker_lost(job.pool, failed);
    if (failed) co_await drop_inputs(api_, job.spec);
  }
  if (!reaped->empty()) work_bell_.ring();
  const Error late{
      ErrorCode::unavailable, "no server made this in the time that jobs may wait", {}, "queued_too_long"};
  const std::string outcome = json_text(error_object(late, status_of(late)));
  const auto late_jobs =
      co_await ask<std::vector<Job>>([&](auto reply) { store_.give_up(outcome, std::move(reply)); });
  if (!late_jobs) co_return;
  for (const Job& job : *late_jobs) {
    log(LogLevel::warning, "job_given_up", fields_of(job));
    observer().gave_up(job.pool);
    if (const auto watched = known_feed(job.id)) watched->row_changed();
    co_await drop_inputs(api_, job.spec);
  }
}

asio::awaitable<void> Background::take_figures() {
  auto counts = co_await ask<jobstore::Counts>([&](auto reply) { store_.count(std::move(reply)); });
  if (!counts) co_return store_was_away();
  using Servers = std::map<std::string, std::int64_t>;
  auto servers = co_await ask<Servers>([&](auto reply) { store_.servers(std::move(reply)); });
  std::optional<jobstore::Upkeep> upkeep;
  if (api_.clock.now() >= upkeep_at_) {
    upkeep_at_ = api_.clock.now() + kUpkeepInterval;
    auto told = co_await ask<jobstore::Upkeep>([&](auto reply) { store_.upkeep(std::move(reply)); });
    if (told) upkeep = *told;
  }
  const std::lock_guard lock(figures_mutex_);
  if (upkeep) figures_.upkeep = *upkeep;
  figures_.counts = *std::move(counts);
  if (servers) figures_.servers = *std::move(servers);
}

json::object Background::fields_of(const Job& job) {
  json::object fields{
      {"job", job.id},          {"request_id", job.request_id},
      {"model", job.pool},      {"worker", job.worker},
      {"attempt", job.attempt}, {"waited_seconds", std::chrono::duration<double>(job.age).count()}};
  if (!job.trace.empty()) fields["traceparent"] = job.trace;
  return fields;
}

}  // namespace diffused::api
