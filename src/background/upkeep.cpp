// What a server does for jobs that are not its own, and what it knows of the store as a whole.
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "base/log.h"
#include "parameters/error_record.h"

namespace diffused::background {

using jobstore::Job;

namespace {
constexpr std::chrono::minutes kUpkeepInterval{1};
}  // namespace

// Jobs of servers that are silent, and of models that nobody has.
asio::awaitable<void> Background::look_after_others() {
  const auto reaped =
      co_await store_call<std::vector<Job>>([&](auto reply) { store_.reap(std::move(reply)); });
  if (!reaped) co_return store_was_away();
  for (const Job& job : *reaped) {
    const bool failed = job.state == jobstore::JobState::failed;
    json::object fields = fields_of(job);
    fields["state"] = failed ? "failed" : "queued";
    log(LogLevel::warning, "worker_lost", std::move(fields));
    observer().worker_lost(job.pool, failed);
    if (failed) co_await drop_inputs(parts_, job.spec);
  }
  if (!reaped->empty()) work_signal_.notify();
  const Error late{
      ErrorCode::unavailable, "no server made this in the time that jobs may wait", {}, "queued_too_long"};
  const std::string outcome = write_failure(late);
  const auto late_jobs =
      co_await store_call<std::vector<Job>>([&](auto reply) { store_.give_up(outcome, std::move(reply)); });
  if (!late_jobs) co_return;
  for (const Job& job : *late_jobs) {
    log(LogLevel::warning, "job_given_up", fields_of(job));
    observer().gave_up(job.pool);
    if (const auto watched = known_feed(job.id)) watched->row_changed();
    co_await drop_inputs(parts_, job.spec);
  }
}

asio::awaitable<void> Background::take_figures() {
  auto counts = co_await store_call<jobstore::Counts>([&](auto reply) { store_.count(std::move(reply)); });
  if (!counts) co_return store_was_away();
  using Servers = std::map<std::string, std::int64_t>;
  auto servers = co_await store_call<Servers>([&](auto reply) { store_.servers(std::move(reply)); });
  std::optional<jobstore::Upkeep> upkeep;
  if (parts_.clock.now() >= upkeep_at_) {
    upkeep_at_ = parts_.clock.now() + kUpkeepInterval;
    auto told = co_await store_call<jobstore::Upkeep>([&](auto reply) { store_.upkeep(std::move(reply)); });
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

}  // namespace diffused::background
