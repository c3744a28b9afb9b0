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

BackgroundMetrics::BackgroundMetrics(prometheus::Registry& registry)
    : jobs_(prometheus::BuildGauge()
                .Name("diffused_background_jobs")
                .Help("Background jobs in the store, of all servers that share it")
                .Register(registry)),
      runs_total_(
          prometheus::BuildCounter()
              .Name("diffused_background_runs_total")
              .Help("Background jobs that this server claimed and is done with; given_back: they were "
                    "queued again; fenced_off: another server had them by then")
              .Register(registry)),
      queued_cost_(prometheus::BuildGauge()
                       .Name("diffused_background_queued_cost")
                       .Help("Work of the background jobs that wait, in steps of a million pixels")
                       .Register(registry)
                       .Add({})),
      store_up_(prometheus::BuildGauge()
                    .Name("diffused_job_store_up")
                    .Help("1, or 0 while the store of background jobs fails or is away")
                    .Register(registry)
                    .Add({})),
      leases_expired_total_(prometheus::BuildCounter()
                                .Name("diffused_background_leases_expired_total")
                                .Help("Jobs of silent servers that this one put back into the queue")
                                .Register(registry)
                                .Add({})) {}

void BackgroundMetrics::refresh(const api::BackgroundFigures& figures) {
  const std::lock_guard lock(mutex_);
  const auto raise_to = [](prometheus::Counter& counter, std::uint64_t value) {
    counter.Increment(static_cast<double>(value) - counter.Value());
  };
  jobs_.Add({{"state", "queued"}}).Set(static_cast<double>(figures.counts.queued));
  jobs_.Add({{"state", "running"}}).Set(static_cast<double>(figures.counts.running));
  queued_cost_.Set(figures.counts.queued_cost);
  store_up_.Set(figures.store_up ? 1 : 0);
  raise_to(runs_total_.Add({{"outcome", "completed"}}), figures.completed);
  raise_to(runs_total_.Add({{"outcome", "failed"}}), figures.failed);
  raise_to(runs_total_.Add({{"outcome", "given_back"}}), figures.given_back);
  raise_to(runs_total_.Add({{"outcome", "fenced_off"}}), figures.fenced_off);
  raise_to(leases_expired_total_, figures.reaped);
}

Metrics::Metrics(std::vector<std::string> models, const std::string& version)
    : engine_(registry_, std::move(models)),
      background_(registry_),
      http_(std::make_shared<HttpMetrics>(registry_)) {
  prometheus::BuildGauge()
      .Name("diffused_build_info")
      .Help("Which program this is; always 1")
      .Register(registry_)
      .Add({{"version", version}})
      .Set(1);
}

void Metrics::stage_finished(std::string_view model, api::PictureStage stage, double seconds) {
  engine_.stage_finished(model, stage == api::PictureStage::store ? "store" : "encode_image", seconds);
}

std::string Metrics::text(const engine::Health& health, const std::vector<PipelineStats>& stats,
                          const http::Counters& counters, const api::BackgroundFigures& background) {
  background_.refresh(background);
  engine_.refresh(health, stats);
  http_->refresh(counters);
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace diffused::app
