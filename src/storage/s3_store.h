// Blobs as objects of a bucket that many servers share, in a store that speaks S3. Each is
// PREFIX/FOLDER/NAME, named as blob_file.h names a file, so that a list of the bucket says all that a sweep
// needs to know.
#pragma once

#include <memory>
#include <string>

#include "storage/s3_bucket.h"
#include "storage/shared_store.h"

namespace diffused::storage {

struct S3Limits {
  std::uint64_t bytes_max = 0;
  WhenFull when_full = WhenFull::evict;
  S3Patience patience = {};
};

class S3Store final : public SharedStore {
 public:
  // Opens the folder and makes sure that objects can be written, listed and removed there. `clock` must
  // outlive the store. Error: unavailable, naming the server and what it said.
  static Result<std::unique_ptr<S3Store>> open(S3Address address, const std::string& folder, S3Limits limits,
                                               const Clock& clock);

  // The last call's outcome: after a failure as long as nothing has gone well since.
  Result<void> check_room() const override;
  void ask() override { static_cast<void>(bucket_.list(folder_ + "probe_")); }

 private:
  S3Store(S3Address address, std::string folder, const S3Limits& limits, const Clock& clock)
      : SharedStore(limits.bytes_max, limits.when_full, clock),
        bucket_(std::move(address), limits.patience, clock),
        folder_(std::move(folder)) {}

  Result<std::optional<BlobFile>> find(std::string_view id) override;
  Result<std::vector<BlobFile>> list() override { return list(""); }
  Result<void> write(const BlobFile& file, const std::string& bytes) override;
  Result<Blob> read(const BlobFile& file) override;
  Result<void> erase(const BlobFile& file) override;

  Result<std::vector<BlobFile>> list(const std::string& beginning);
  Result<void> probe();

  S3Bucket bucket_;
  const std::string folder_;  // with a slash at its end
};

}  // namespace diffused::storage
