// The engine's figures for Prometheus: prefix diffused_, base units, _total on counters.
#pragma once

#include <prometheus/registry.h>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/local_dispatcher.h"
#include "engine/observer.h"

namespace diffused::engine {

// Any thread. Every label's values are bounded: models served, stages, outcomes, words of errors.
class EngineMetrics final : public EngineObserver {
 public:
  // Registers the families; `registry` must outlive this. `models`: served names, in the dispatcher's order.
  EngineMetrics(prometheus::Registry& registry, std::vector<std::string> models);

  void unit_finished(std::string_view model, UnitKind kind, std::size_t rows, double seconds) override;
  void job_finished(std::string_view model, Outcome outcome, std::string_view reason, const Timings& timings,
                    std::size_t images) override;
  void rejected(std::string_view model, std::string_view reason) override;

  // What happened to a job's picture after the device: "encode_image", "store".
  void stage_finished(std::string_view model, std::string_view stage, double seconds);

  // Brings the gauges and the pipelines' own counters up to date; call it before the registry is collected.
  // `stats`: one of each model, in the dispatcher's order.
  void refresh(const Health& health, const std::vector<PipelineStats>& stats);

 private:
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;
  using Histograms = prometheus::Family<prometheus::Histogram>;

  const std::vector<std::string> models_;
  Gauges& requests_waiting_;
  Gauges& requests_running_;
  Gauges& queue_cost_seconds_;
  Gauges& engine_up_;
  Gauges& last_step_age_seconds_;
  Gauges& prompt_cache_bytes_;
  Gauges& model_weight_bytes_;
  Gauges& weight_bytes_;
  Counters& jobs_total_;
  Counters& images_total_;
  Counters& steps_total_;
  Counters& steps_skipped_total_;
  Counters& rejected_total_;
  Counters& prompt_cache_total_;
  Histograms& job_queue_seconds_;
  Histograms& job_run_seconds_;
  Histograms& stage_seconds_;
  Histograms& step_seconds_;
  Histograms& batch_size_;
  std::mutex refresh_mutex_;  // the pipelines' counters are read and added as differences
};

}  // namespace diffused::engine
