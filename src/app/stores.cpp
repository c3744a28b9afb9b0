#include "app/stores.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/variables.h"
#include "jobstore/postgres_job_store.h"
#include "jobstore/sqlite_job_store.h"
#include "storage/directory_store.h"
#include "storage/s3_store.h"
#include "storage/shared_directory_store.h"

namespace diffused::app {
namespace {

using storage::DirectoryLimits;
using storage::WhenFull;
namespace fs = std::filesystem;

Result<std::unique_ptr<storage::BlobStore>> open_blobs(const ServerSettings& settings, const char* name,
                                                       DirectoryLimits limits, const Clock& clock) {
  if (settings.blobs.empty()) {
    TRY(auto own, storage::DirectoryStore::open(settings.data_dir / name, limits, clock));
    return own;
  }
  if (storage::is_s3_url(settings.blobs)) {
    TRY(auto address, storage::read_s3_address(settings.blobs, settings.blobs_endpoint, process_variables()));
    TRY(auto bucket,
        storage::S3Store::open(std::move(address), name, {limits.bytes_max, limits.when_full}, clock));
    return bucket;
  }
  TRY(auto shared, storage::SharedDirectoryStore::open(fs::path(settings.blobs) / name, limits, clock));
  return shared;
}

Result<std::unique_ptr<jobstore::JobStore>> open_jobs(const ServerSettings& settings, const Clock& clock) {
  if (settings.store.empty() && settings.require_sync)
    return fail(ErrorCode::invalid_argument, "--require-sync: of which --store?", "--require-sync");
  if (settings.store.empty())
    return jobstore::open_sqlite_job_store(settings.data_dir / "jobs.db", settings.jobs, clock);
  if (!jobstore::is_postgres_url(settings.store))
    return fail(ErrorCode::invalid_argument, "--store must be like postgresql://user@host/name", "--store");
  // A server alone with its pictures would accept jobs whose pictures the others then cannot show.
  if (settings.blobs.empty())
    return fail(ErrorCode::invalid_argument,
                "--store is for many servers: --blobs must name a folder that all of them see, or "
                "s3://bucket/prefix",
                "--blobs");
  auto store = jobstore::open_postgres_job_store(
      settings.store, settings.jobs,
      {.require_sync = settings.require_sync, .application_name = "diffused " + settings.worker});
  if (store) return store;
  Error error = std::move(store).error();
  error.message = fmt::format("--store: {}", error.message);
  return tl::unexpected(std::move(error));
}

}  // namespace

Result<Stores> open_stores(const ServerSettings& settings, const Clock& clock) {
  Stores stores;
  const std::uint64_t floor = settings.free_bytes_min;
  TRY(stores.jobs, open_jobs(settings, clock));
  TRY(stores.images,
      open_blobs(settings, "images", {settings.images_bytes_max, WhenFull::evict, floor}, clock));
  TRY(stores.inputs,
      open_blobs(settings, "inputs", {settings.inputs_bytes_max, WhenFull::refuse, floor}, clock));
  return stores;
}

}  // namespace diffused::app
