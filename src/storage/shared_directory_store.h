// Blobs as files (blob_file.h) of a folder that many servers share, on one machine or over a network file
// system. The files lie in 256 folders by the end of their id, so that none grows long.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "storage/blob_file.h"
#include "storage/directory_store.h"
#include "storage/shared_store.h"

namespace diffused::storage {

class SharedDirectoryStore final : public SharedStore {
 public:
  // Opens `folder`, making it if need be. Error: invalid_argument (the folder cannot be made or written).
  static Result<std::unique_ptr<SharedDirectoryStore>> open(const std::filesystem::path& folder,
                                                            DirectoryLimits limits, const Clock& clock);
  SharedDirectoryStore(const SharedDirectoryStore&) = delete;
  SharedDirectoryStore& operator=(const SharedDirectoryStore&) = delete;

  Result<void> check_room() const override { return folder_.check(); }

 private:
  SharedDirectoryStore(const std::filesystem::path& folder, DirectoryLimits limits, const Clock& clock)
      : SharedStore(limits.bytes_max, limits.when_full, clock),
        folder_(folder, FolderOwner::many, limits.free_bytes_min, clock),
        clock_(clock) {}

  Result<void> look() override;
  Result<std::optional<BlobFile>> find(std::string_view id) override;
  // Also removes files that nobody finished within an hour.
  Result<std::vector<BlobFile>> list() override;
  Result<void> write(const BlobFile& file, const std::string& bytes) override;
  Result<Blob> read(const BlobFile& file) override;
  Result<void> erase(const BlobFile& file) override;

  static std::string bucket_of(std::string_view id);
  int open_bucket(const std::string& bucket) const;
  Result<void> write_to_bucket(const BlobFile& file, const std::string& bytes);

  StoreFolder folder_;
  const Clock& clock_;
};

}  // namespace diffused::storage
