// The figures of the process itself, under the names that every Prometheus client gives them.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <mutex>

namespace diffused::app {

// Any thread. Reads /proc.
class ProcessMetrics {
 public:
  explicit ProcessMetrics(prometheus::Registry& registry);
  void refresh();

 private:
  std::mutex mutex_;  // the counter is read and raised
  prometheus::Counter& cpu_seconds_total_;
  prometheus::Gauge& resident_memory_bytes_;
  prometheus::Gauge& virtual_memory_bytes_;
  prometheus::Gauge& threads_;
  prometheus::Gauge& open_fds_;
  prometheus::Gauge& max_fds_;
  prometheus::Gauge& start_time_seconds_;
};

}  // namespace diffused::app
