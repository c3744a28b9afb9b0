#include "app/metrics.h"

#include <prometheus/text_serializer.h>

namespace diffused::app {
namespace {

const prometheus::Histogram::BucketBoundaries kRequestSeconds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600};

}  // namespace

HttpMetrics::HttpMetrics(prometheus::Registry& registry)
    : requests_total_(prometheus::BuildCounter()
                          .Name("diffused_http_requests_total")
                          .Help("Requests answered; code 499: the client went away first")
                          .Register(registry)),
      request_duration_seconds_(prometheus::BuildHistogram()
                                    .Name("diffused_http_request_duration_seconds")
                                    .Help("From a request's first byte to its answer's last")
                                    .Register(registry)),
      rejected_total_(prometheus::BuildCounter()
                          .Name("diffused_http_rejected_total")
                          .Help("Connections and requests that the HTTP shell refused")
                          .Register(registry)),
      connections_open_(prometheus::BuildGauge()
                            .Name("diffused_http_connections")
                            .Help("Open connections")
                            .Register(registry)
                            .Add({{"state", "open"}})),
      exchanges_open_(prometheus::BuildGauge()
                          .Name("diffused_http_exchanges")
                          .Help("Requests being read or answered")
                          .Register(registry)
                          .Add({{"state", "open"}})) {}

void HttpMetrics::served(const http::Served& served) {
  const std::string route = served.route.empty() ? "none" : std::string(served.route);
  requests_total_
      .Add(
          {{"route", route}, {"method", std::string(served.method)}, {"code", std::to_string(served.status)}})
      .Increment();
  request_duration_seconds_.Add({{"route", route}}, kRequestSeconds).Observe(served.seconds);
}

void HttpMetrics::rejected(std::string_view reason) {
  rejected_total_.Add({{"reason", std::string(reason)}}).Increment();
}

void HttpMetrics::refresh(const http::Counters& counters) {
  connections_open_.Set(static_cast<double>(counters.connections_open));
  exchanges_open_.Set(static_cast<double>(counters.exchanges_open));
}

Metrics::Metrics(std::vector<std::string> models, const std::string& version)
    : engine_(registry_, std::move(models)),
      background_(std::make_shared<BackgroundMetrics>(registry_)),
      http_(std::make_shared<HttpMetrics>(registry_)),
      stores_(registry_),
      process_(registry_) {
  prometheus::BuildGauge()
      .Name("diffused_build_info")
      .Help("Which program this is; always 1")
      .Register(registry_)
      .Add({{"version", version}})
      .Set(1);
}

void Metrics::stage_finished(std::string_view model, background::PictureStage stage, double seconds) {
  engine_.stage_finished(model, stage == background::PictureStage::store ? "store" : "encode_image", seconds);
}

std::string Metrics::text(const engine::Health& health, const std::vector<PipelineStats>& stats,
                          const http::Counters& counters, const background::Figures& background) {
  background_->refresh(background);
  process_.refresh();
  engine_.refresh(health, stats);
  http_->refresh(counters);
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace diffused::app
