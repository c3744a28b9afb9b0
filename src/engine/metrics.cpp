#include "engine/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include "base/check.h"

namespace diffused::engine {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

const Buckets kJobSeconds = {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600};
const Buckets kStageSeconds = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                               2.5,   5,     10,   20,    30,   60,  120,  300, 600};
const Buckets kStepSeconds = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128,
                              0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384};
const Buckets kBatchRows = {1, 2, 4, 8, 16};

auto& gauges(prometheus::Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name("diffused_" + name).Help(help).Register(registry);
}
auto& counters(prometheus::Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name("diffused_" + name).Help(help).Register(registry);
}
auto& histograms(prometheus::Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildHistogram().Name("diffused_" + name).Help(help).Register(registry);
}

const char* word(Outcome outcome) {
  switch (outcome) {
    case Outcome::succeeded:
      return "succeeded";
    case Outcome::failed:
      return "failed";
    case Outcome::cancelled:
      return "cancelled";
  }
  return "failed";
}

void raise_to(prometheus::Counter& counter, std::uint64_t value) {
  counter.Increment(static_cast<double>(value) - counter.Value());
}

}  // namespace

EngineMetrics::EngineMetrics(prometheus::Registry& registry, std::vector<std::string> models)
    : models_(std::move(models)),
      requests_waiting_(gauges(registry, "requests_waiting", "Jobs accepted and not begun.")),
      requests_running_(gauges(registry, "requests_running", "Jobs begun and not ended.")),
      queue_cost_seconds_(
          gauges(registry, "queue_cost_seconds", "Estimated device time of the work at hand.")),
      engine_up_(gauges(registry, "engine_up", "1, or 0 while a unit of work is overdue.")),
      last_step_age_seconds_(
          gauges(registry, "engine_last_step_age_seconds", "Time since a unit of work ended.")),
      prompt_cache_bytes_(gauges(registry, "prompt_cache_bytes", "Prompt embeddings held.")),
      model_weight_bytes_(gauges(registry, "model_weight_bytes",
                                 "Weights in memory that the model uses; 0 while it is not loaded.")),
      weight_bytes_(gauges(registry, "weight_bytes", "Weights in memory, those that models share once.")),
      jobs_total_(counters(registry, "jobs_total", "Jobs ended.")),
      images_total_(counters(registry, "images_total", "Pictures finished.")),
      steps_total_(counters(registry, "steps_total", "Denoising steps, counted for each picture.")),
      steps_skipped_total_(counters(
          registry, "steps_skipped_total",
          "Denoising steps that a cache spared, counted for each picture; steps_total is without them.")),
      rejected_total_(counters(registry, "rejected_total", "Jobs not accepted.")),
      prompt_cache_total_(
          counters(registry, "prompt_cache_total", "Prompts looked up in the embedding cache.")),
      job_queue_seconds_(
          histograms(registry, "job_queue_seconds", "From acceptance to the first unit of work.")),
      job_run_seconds_(
          histograms(registry, "job_run_seconds", "From the first unit of work to the last picture.")),
      stage_seconds_(histograms(registry, "stage_seconds",
                                "Device time a job took part in, and time of a picture after it, by stage.")),
      step_seconds_(
          histograms(registry, "step_seconds", "Duration of a denoising step, of however many pictures.")),
      batch_size_(histograms(registry, "batch_size", "Pictures that shared a denoising step.")) {}

void EngineMetrics::unit_finished(std::string_view model, UnitKind kind, std::size_t rows, double seconds) {
  if (kind != UnitKind::step) return;
  const prometheus::Labels labels = {{"model", std::string(model)}};
  steps_total_.Add(labels).Increment(static_cast<double>(rows));
  step_seconds_.Add(labels, kStepSeconds).Observe(seconds);
  batch_size_.Add(labels, kBatchRows).Observe(static_cast<double>(rows));
}

void EngineMetrics::job_finished(std::string_view model, Outcome outcome, std::string_view reason,
                                 const Timings& timings, std::size_t images) {
  const std::string name(model);
  jobs_total_.Add({{"model", name}, {"outcome", word(outcome)}, {"reason", std::string(reason)}}).Increment();
  images_total_.Add({{"model", name}}).Increment(static_cast<double>(images));
  if (outcome != Outcome::succeeded) return;  // times of half a job would blur those of whole ones
  job_queue_seconds_.Add({{"model", name}}, kJobSeconds).Observe(timings.queue_seconds);
  job_run_seconds_.Add({{"model", name}}, kJobSeconds).Observe(timings.total_seconds - timings.queue_seconds);
  const std::pair<const char*, double> stages[] = {{"text_encode", timings.encode_seconds},
                                                   {"denoise", timings.denoise_seconds},
                                                   {"decode", timings.decode_seconds}};
  for (const auto& [stage, seconds] : stages) stage_finished(model, stage, seconds);
}

void EngineMetrics::stage_finished(std::string_view model, std::string_view stage, double seconds) {
  stage_seconds_.Add({{"model", std::string(model)}, {"stage", std::string(stage)}}, kStageSeconds)
      .Observe(seconds);
}

void EngineMetrics::rejected(std::string_view model, std::string_view reason) {
  rejected_total_.Add({{"model", std::string(model)}, {"reason", std::string(reason)}}).Increment();
}

void EngineMetrics::refresh(const Health& health, const std::vector<PipelineStats>& stats) {
  CHECK(health.queue.by_model.size() == models_.size() && stats.size() == models_.size());
  const std::lock_guard lock(refresh_mutex_);
  engine_up_.Add({}).Set(health.device.unit_overdue ? 0 : 1);
  last_step_age_seconds_.Add({}).Set(health.device.seconds_since_unit);
  weight_bytes_.Add({}).Set(static_cast<double>(health.weight_bytes));
  for (std::size_t i = 0; i < models_.size(); ++i) {
    const prometheus::Labels labels = {{"model", models_[i]}};
    requests_waiting_.Add(labels).Set(static_cast<double>(health.queue.by_model[i].jobs_waiting));
    requests_running_.Add(labels).Set(static_cast<double>(health.queue.by_model[i].jobs_running));
    queue_cost_seconds_.Add(labels).Set(health.queue.by_model[i].queued_seconds);
    prompt_cache_bytes_.Add(labels).Set(static_cast<double>(stats[i].prompt_cache_bytes));
    model_weight_bytes_.Add(labels).Set(static_cast<double>(stats[i].weight_bytes));
    raise_to(prompt_cache_total_.Add({{"model", models_[i]}, {"result", "hit"}}), stats[i].prompt_cache_hits);
    raise_to(steps_skipped_total_.Add(labels), stats[i].steps_skipped);
    raise_to(prompt_cache_total_.Add({{"model", models_[i]}, {"result", "miss"}}),
             stats[i].prompt_cache_misses);
  }
}

}  // namespace diffused::engine
