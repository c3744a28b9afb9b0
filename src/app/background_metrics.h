// The figures of background jobs, of the store that keeps them, and of requests that other servers make.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "background/background.h"
#include "background/observer.h"

namespace diffused::app {

// Any thread. What waits, what runs and how many servers there are is the store's, the same on all of its
// servers; the rest is of this one.
class BackgroundMetrics final : public background::Observer {
 public:
  explicit BackgroundMetrics(prometheus::Registry& registry);

  void run_ended(std::string_view model, std::string_view outcome) override;
  void waited(std::string_view model, double seconds) override;
  void worker_lost(std::string_view model, bool failed) override;
  void gave_up(std::string_view model) override;
  void refused(std::string_view model, std::string_view reason) override;
  void answered(std::string_view model, std::string_view reason, double queue_seconds,
                double run_seconds) override;
  // One call of the store was answered; `changes`: it was to change something.
  void store_answered(bool changes, double seconds, bool well);

  // Brings the gauges up to date.
  void refresh(const background::Figures& figures);

 private:
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;
  using Histograms = prometheus::Family<prometheus::Histogram>;

  Gauges& jobs_;
  Gauges& queued_cost_;
  Gauges& oldest_queued_seconds_;
  Gauges& model_servers_;
  Gauges& store_up_;
  Counters& runs_total_;
  Counters& leases_expired_total_;
  Counters& jobs_lost_total_;
  Counters& given_up_total_;
  Counters& rejected_total_;
  Counters& jobs_total_;
  Counters& store_errors_total_;
  Histograms& queue_seconds_;
  Histograms& job_queue_seconds_;
  Histograms& job_run_seconds_;
  Histograms& store_seconds_;
  std::mutex mutex_;
  std::set<std::string> models_;  // guarded by mutex_: all that ever were shown, so that none stands still
};

}  // namespace diffused::app
