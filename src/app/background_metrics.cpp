#include "app/background_metrics.h"

namespace diffused::app {
namespace {

const prometheus::Histogram::BucketBoundaries kWaitSeconds = {0.1, 0.5, 1,   2.5,  5,    10,    30,
                                                              60,  120, 300, 1800, 7200, 86400, 604800};
// As the engine's, whose families these are too.
const prometheus::Histogram::BucketBoundaries kJobSeconds = {0.05, 0.1, 0.25, 0.5, 1,   2.5, 5,
                                                             10,   20,  30,   60,  120, 300, 600};
const prometheus::Histogram::BucketBoundaries kStoreSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                               0.1,   0.25,   0.5,   1,    2.5,   5};

template <typename Build>
auto& family(prometheus::Registry& registry, Build build, const char* name, const char* help) {
  return build().Name(std::string("diffused_") + name).Help(help).Register(registry);
}
auto& counters(prometheus::Registry& registry, const char* name, const char* help) {
  return family(registry, prometheus::BuildCounter, name, help);
}
auto& gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return family(registry, prometheus::BuildGauge, name, help);
}
auto& histograms(prometheus::Registry& registry, const char* name, const char* help) {
  return family(registry, prometheus::BuildHistogram, name, help);
}

prometheus::Labels of(std::string_view model) { return {{"model", std::string(model)}}; }

}  // namespace

// Those that the engine counts too are the same families (engine/metrics.cpp).
BackgroundMetrics::BackgroundMetrics(prometheus::Registry& registry)
    : jobs_(gauges(registry, "background_jobs", "Jobs in the store, of all servers that share it")),
      queued_cost_(gauges(registry, "background_queued_cost",
                          "Work of the jobs that wait, in steps of a million pixels")),
      oldest_queued_seconds_(
          gauges(registry, "background_oldest_queued_seconds", "Since the oldest that waits was accepted")),
      model_servers_(gauges(registry, "model_servers", "Servers on the store that have the model")),
      store_up_(
          gauges(registry, "job_store_up", "1, or 0 while the store of background jobs fails or is away")),
      runs_total_(counters(registry, "background_runs_total",
                           "Jobs that this server claimed and is done with; given_back: they were queued "
                           "again; fenced_off: another server had them by then")),
      leases_expired_total_(counters(registry, "background_leases_expired_total",
                                     "Jobs whose server fell silent, found by this one")),
      jobs_lost_total_(counters(registry, "background_worker_lost_total",
                                "Those of them that failed, as it was their last attempt")),
      given_up_total_(
          counters(registry, "background_given_up_total",
                   "Jobs that this server ended because they had waited for as long as they may")),
      rejected_total_(counters(registry, "rejected_total", "Jobs not accepted.")),
      jobs_total_(counters(registry, "jobs_total", "Jobs ended.")),
      store_errors_total_(counters(registry, "job_store_errors_total", "Calls of the job store that failed")),
      queue_seconds_(histograms(registry, "background_queue_seconds",
                                "From a job's acceptance to its first unit of work, here")),
      job_queue_seconds_(
          histograms(registry, "job_queue_seconds", "From acceptance to the first unit of work.")),
      job_run_seconds_(
          histograms(registry, "job_run_seconds", "From the first unit of work to the last picture.")),
      store_seconds_(
          histograms(registry, "job_store_seconds", "How long the job store took to answer a call")) {}

void BackgroundMetrics::run_ended(std::string_view model, std::string_view outcome) {
  runs_total_.Add({{"model", std::string(model)}, {"outcome", std::string(outcome)}}).Increment();
}

void BackgroundMetrics::waited(std::string_view model, double seconds) {
  queue_seconds_.Add(of(model), kWaitSeconds).Observe(seconds);
}

void BackgroundMetrics::worker_lost(std::string_view model, bool failed) {
  leases_expired_total_.Add(of(model)).Increment();
  if (failed) jobs_lost_total_.Add(of(model)).Increment();
}

void BackgroundMetrics::gave_up(std::string_view model) { given_up_total_.Add(of(model)).Increment(); }

void BackgroundMetrics::refused(std::string_view model, std::string_view reason) {
  rejected_total_.Add({{"model", std::string(model)}, {"reason", std::string(reason)}}).Increment();
}

void BackgroundMetrics::answered(std::string_view model, std::string_view reason, double queue_seconds,
                                 double run_seconds) {
  const std::string outcome = reason.empty() ? "succeeded" : reason == "cancelled" ? "cancelled" : "failed";
  jobs_total_.Add({{"model", std::string(model)}, {"outcome", outcome}, {"reason", std::string(reason)}})
      .Increment();
  if (!reason.empty()) return;  // times of half a job would blur those of whole ones
  job_queue_seconds_.Add(of(model), kJobSeconds).Observe(queue_seconds);
  job_run_seconds_.Add(of(model), kJobSeconds).Observe(run_seconds);
}

void BackgroundMetrics::store_answered(bool changes, double seconds, bool well) {
  const prometheus::Labels labels = {{"kind", changes ? "change" : "question"}};
  store_seconds_.Add(labels, kStoreSeconds).Observe(seconds);
  if (!well) store_errors_total_.Add(labels).Increment();
}

void BackgroundMetrics::refresh(const background::Figures& figures) {
  const std::lock_guard lock(mutex_);
  for (const auto& [model, counts] : figures.counts.by_pool) models_.insert(model);
  for (const auto& [model, servers] : figures.servers) models_.insert(model);
  for (const std::string& model : models_) {
    const auto counted = figures.counts.by_pool.find(model);
    const jobstore::PoolCounts counts =
        counted == figures.counts.by_pool.end() ? jobstore::PoolCounts{} : counted->second;
    const auto served = figures.servers.find(model);
    jobs_.Add({{"model", model}, {"state", "queued"}}).Set(static_cast<double>(counts.queued));
    jobs_.Add({{"model", model}, {"state", "running"}}).Set(static_cast<double>(counts.running));
    queued_cost_.Add(of(model)).Set(counts.queued_cost);
    oldest_queued_seconds_.Add(of(model)).Set(static_cast<double>(counts.oldest_queued));
    if (served != figures.servers.end())
      model_servers_.Add(of(model)).Set(static_cast<double>(served->second));
  }
  store_up_.Add({}).Set(figures.store_up ? 1 : 0);
}

}  // namespace diffused::app
