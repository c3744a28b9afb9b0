// The figures of the stores for pictures, and what may slow the job store down.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <atomic>
#include <mutex>
#include <string>

#include "jobstore/job_store.h"
#include "storage/blob_store.h"

namespace diffused::app {

// Any thread.
class StoreMetrics {
 public:
  explicit StoreMetrics(prometheus::Registry& registry);
  // `store`: "images" or "inputs".
  void refresh(const std::string& store, const storage::BlobStore& blobs);
  void refresh(const jobstore::Upkeep& upkeep);

 private:
  using Gauges = prometheus::Family<prometheus::Gauge>;
  Gauges& bytes_;
  Gauges& bytes_max_;
  Gauges& up_;
  prometheus::Family<prometheus::Counter>& evicted_total_;
  prometheus::Gauge& dead_rows_;
  prometheus::Gauge& oldest_transaction_seconds_;
  std::mutex mutex_;  // the counters are read and raised
};

}  // namespace diffused::app
