// `diffused jobs …`: the queue of a job store as whoever runs the servers sees it.
#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.h"
#include "base/json_text.h"
#include "jobstore/postgres_job_store.h"

namespace diffused::app {
namespace {

namespace json = boost::json;
using jobstore::Job;
using jobstore::JobState;
using jobstore::JobStore;

struct JobsOptions {
  std::string store;
  JobState state = JobState::queued;
  int jobs_max = 50;
  bool as_json = false;
  std::vector<std::string> names;  // jobs, or models
};

const std::map<std::string, JobState> kStateWords{{"queued", JobState::queued},
                                                  {"running", JobState::running},
                                                  {"succeeded", JobState::succeeded},
                                                  {"failed", JobState::failed},
                                                  {"cancelled", JobState::cancelled}};

// Makes the call and waits for its reply.
template <typename T, typename Call>
Result<T> asked(const Call& call) {
  std::promise<Result<T>> promise;
  call([&promise](Result<T> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

Result<std::unique_ptr<JobStore>> open_store(const JobsOptions& options) {
  if (!jobstore::is_postgres_url(options.store))
    return fail(ErrorCode::invalid_argument, "--store must be like postgresql://user@host/name", "--store");
  return jobstore::open_postgres_job_store(options.store, {}, {.application_name = "diffused jobs"});
}

json::object shown_job(const Job& job, const std::string& state) {
  return {{"id", job.id},
          {"state", state},
          {"model", job.pool},
          {"owner", job.owner},
          {"worker", job.worker},
          {"priority", job.priority},
          {"attempt", job.attempt},
          {"progress", job.progress},
          {"request_id", job.request_id},
          {"age_seconds", job.age.count() / 1000}};
}

Result<void> list_jobs(const JobsOptions& options) {
  TRY(const auto store, open_store(options));
  TRY(const auto counts, asked<jobstore::Counts>([&](auto reply) { store->count(std::move(reply)); }));
  using Servers = std::map<std::string, std::int64_t>;
  TRY(const auto servers, asked<Servers>([&](auto reply) { store->servers(std::move(reply)); }));
  TRY(const auto paused,
      asked<std::vector<std::string>>([&](auto reply) { store->paused(std::move(reply)); }));
  TRY(const auto jobs, asked<std::vector<Job>>([&](auto reply) {
        store->list_state(options.state, options.jobs_max, std::move(reply));
      }));
  std::string state;
  for (const auto& [word, value] : kStateWords)
    if (value == options.state) state = word;
  if (options.as_json) {
    for (const Job& job : jobs) fmt::print("{}\n", json_text(shown_job(job, state)));
    return {};
  }
  Servers models = servers;
  for (const auto& [model, ignored] : counts.by_pool) models.emplace(model, 0);
  fmt::print("{:24} {:>8} {:>8} {:>8} {:>10}\n", "MODEL", "SERVERS", "QUEUED", "RUNNING", "OLDEST");
  for (const auto& [model, number] : models) {
    const auto counted = counts.by_pool.find(model);
    const auto of = counted == counts.by_pool.end() ? jobstore::PoolCounts{} : counted->second;
    fmt::print("{:24} {:>8} {:>8} {:>8} {:>9}s\n", model, number, of.queued, of.running, of.oldest_queued);
  }
  for (const std::string& model : paused) fmt::print("paused: {}\n", model);
  fmt::print("\n{:37} {:16} {:16} {:>4} {:>4} {:>8}  {}\n", "JOB", "MODEL", "OWNER", "PRIO", "TRY", "AGE",
             "WORKER");
  for (const Job& job : jobs)
    fmt::print("{:37} {:16} {:16} {:>4} {:>4} {:>7}s  {}\n", job.id, job.pool, job.owner, job.priority,
               job.attempt, job.age.count() / 1000, job.worker);
  return {};
}

// Does the same to each of the named jobs.
Result<void> each_job(const JobsOptions& options, const char* done,
                      const std::function<void(JobStore&, const std::string&, jobstore::Reply<Job>)>& call) {
  TRY(const auto store, open_store(options));
  for (const std::string& id : options.names) {
    const auto job = asked<Job>([&](auto reply) { call(*store, id, std::move(reply)); });
    if (!job) return fail(job.error().code, fmt::format("{}: {}", id, job.error().message));
    // The server that runs it hears of it at once.
    store->tell(json_text(json::object{{"do", "stop"}, {"job", id}}));
    fmt::print("{}: {}\n", id,
               job->state == JobState::cancelled || job->state == JobState::queued ? done : "it had ended");
  }
  return {};
}

Result<void> cancel_jobs(const JobsOptions& options) {
  return each_job(options, "cancelled", [](JobStore& store, const std::string& id, auto reply) {
    store.cancel(id, std::nullopt, std::move(reply));
  });
}

Result<void> requeue_jobs(const JobsOptions& options) {
  return each_job(options, "queued again", [](JobStore& store, const std::string& id, auto reply) {
    store.requeue(id, std::move(reply));
  });
}

Result<void> set_paused(const JobsOptions& options, bool paused) {
  TRY(const auto store, open_store(options));
  std::vector<std::string> models = options.names;
  if (models.empty()) models.emplace_back("*");
  for (const std::string& model : models) {
    TRY(const bool changed, asked<bool>([&](auto reply) { store->pause(model, paused, std::move(reply)); }));
    const std::string which = model == "*" ? "all models" : model;
    fmt::print("{}: {}{}\n", which, changed ? "" : "already ", paused ? "paused" : "resumed");
  }
  if (!paused) store->tell(json_text(json::object{{"do", "claim"}}));
  return {};
}

}  // namespace

void add_jobs(CLI::App& program, int& exit_status) {
  CLI::App* command = program.add_subcommand("jobs", "See and change the queue of a job store");
  command->require_subcommand(1);
  const auto options = std::make_shared<JobsOptions>();
  const auto add = [&](const char* name, const char* help, auto action) {
    CLI::App* sub = command->add_subcommand(name, help);
    sub->add_option("--store", options->store, "postgresql://user@host/name")
        ->envname("DIFFUSED_STORE")
        ->required();
    sub->callback([options, action, &exit_status] {
      if (const auto done = action(*options); !done) exit_status = report(done.error());
    });
    return sub;
  };
  CLI::App* listed = add("list", "Show what waits and runs, by model, and the jobs of one state", list_jobs);
  listed->add_option("--state", options->state)
      ->transform(CLI::CheckedTransformer(kStateWords))
      ->default_str("queued");
  listed->add_option("--limit", options->jobs_max, "jobs shown")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  listed->add_flag("--json", options->as_json, "one object a line, and nothing else");
  for (CLI::App* sub :
       {add("cancel", "End jobs that wait or run", cancel_jobs),
        add("requeue", "Queue jobs again that run, have failed or were cancelled", requeue_jobs)})
    sub->add_option("JOB", options->names)->required();
  for (CLI::App* sub : {add("pause", "Have no more jobs claimed; what runs goes on",
                            [](const JobsOptions& chosen) { return set_paused(chosen, true); }),
                        add("resume", "Have jobs claimed again",
                            [](const JobsOptions& chosen) { return set_paused(chosen, false); })})
    sub->add_option("MODEL", options->names, "which models' (default: all)");
}

}  // namespace diffused::app
