#include "app/store_metrics.h"

namespace diffused::app {

StoreMetrics::StoreMetrics(prometheus::Registry& registry)
    : bytes_(prometheus::BuildGauge()
                 .Name("diffused_picture_store_bytes")
                 .Help("Bytes kept, as far as this server knows")
                 .Register(registry)),
      bytes_max_(prometheus::BuildGauge()
                     .Name("diffused_picture_store_bytes_max")
                     .Help("Bytes that may be kept")
                     .Register(registry)),
      up_(prometheus::BuildGauge()
              .Name("diffused_picture_store_up")
              .Help("1, or 0 while it fails or has no room")
              .Register(registry)),
      evicted_total_(prometheus::BuildCounter()
                         .Name("diffused_picture_store_evicted_total")
                         .Help("Pictures that had not expired and have made room for others, here")
                         .Register(registry)),
      dead_rows_(prometheus::BuildGauge()
                     .Name("diffused_job_store_dead_rows")
                     .Help("Rows of jobs that await a vacuum")
                     .Register(registry)
                     .Add({})),
      oldest_transaction_seconds_(prometheus::BuildGauge()
                                      .Name("diffused_job_store_oldest_transaction_seconds")
                                      .Help("Age of the database's oldest transaction that this role may see")
                                      .Register(registry)
                                      .Add({})) {}

void StoreMetrics::refresh(const std::string& store, const storage::BlobStore& blobs) {
  const prometheus::Labels labels = {{"store", store}};
  const std::lock_guard lock(mutex_);
  bytes_.Add(labels).Set(static_cast<double>(blobs.bytes()));
  bytes_max_.Add(labels).Set(static_cast<double>(blobs.bytes_max()));
  up_.Add(labels).Set(blobs.check_room() ? 1 : 0);
  auto& evicted = evicted_total_.Add(labels);
  evicted.Increment(static_cast<double>(blobs.evicted()) - evicted.Value());
}

void StoreMetrics::refresh(const jobstore::Upkeep& upkeep) {
  dead_rows_.Set(static_cast<double>(upkeep.dead_rows));
  oldest_transaction_seconds_.Set(static_cast<double>(upkeep.oldest_transaction_seconds));
}

}  // namespace diffused::app
