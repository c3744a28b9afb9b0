// What the server keeps: its jobs, its pictures, and the pictures that waiting jobs start from.
#pragma once

#include <memory>

#include "app/settings.h"
#include "jobstore/job_store.h"
#include "storage/blob_store.h"

namespace diffused::app {

struct Stores {
  std::unique_ptr<storage::BlobStore> images;
  std::unique_ptr<storage::BlobStore> inputs;
  std::unique_ptr<jobstore::JobStore> jobs;
};

// In settings.data_dir, or where settings.store and settings.blobs say. `clock` must outlive them. Errors:
// what cannot be opened.
Result<Stores> open_stores(const ServerSettings& settings, const Clock& clock);

}  // namespace diffused::app
