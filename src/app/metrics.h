// What GET /metrics shows: the engine's figures, the HTTP shell's, those of background jobs and of the
// process, and which program this is.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <vector>

#include "api/api.h"
#include "app/background_metrics.h"
#include "app/process_metrics.h"
#include "app/store_metrics.h"
#include "background/background.h"
#include "engine/local_dispatcher.h"
#include "engine/metrics.h"
#include "http/shell.h"

namespace diffused::app {

// The HTTP shell's figures. Routes, methods and codes come from the route table: the labels are bounded.
class HttpMetrics final : public http::Observer {
 public:
  explicit HttpMetrics(prometheus::Registry& registry);
  void served(const http::Served& served) override;
  void rejected(std::string_view reason) override;
  // Brings the gauges up to date.
  void refresh(const http::Counters& counters);

 private:
  prometheus::Family<prometheus::Counter>& requests_total_;
  prometheus::Family<prometheus::Histogram>& request_duration_seconds_;
  prometheus::Family<prometheus::Counter>& rejected_total_;
  prometheus::Gauge& connections_open_;
  prometheus::Gauge& exchanges_open_;
};

// Any thread.
class Metrics {
 public:
  // `models`: served names, in the dispatcher's order.
  Metrics(std::vector<std::string> models, const std::string& version);

  engine::EngineMetrics& engine() { return engine_; }
  std::shared_ptr<HttpMetrics> http() const { return http_; }
  std::shared_ptr<BackgroundMetrics> background() const { return background_; }

  StoreMetrics& stores() { return stores_; }

  void stage_finished(std::string_view model, background::PictureStage stage, double seconds);

  // Everything in Prometheus' text format, the gauges as of now.
  std::string text(const engine::Health& health, const std::vector<PipelineStats>& stats,
                   const http::Counters& counters, const background::Figures& background);

 private:
  prometheus::Registry registry_;
  engine::EngineMetrics engine_;
  const std::shared_ptr<BackgroundMetrics> background_;
  const std::shared_ptr<HttpMetrics> http_;
  StoreMetrics stores_;
  ProcessMetrics process_;
};

}  // namespace diffused::app
