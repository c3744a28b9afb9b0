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

  Result<void> check_room() const override { return free_space_.check(); }

 private:
  SharedDirectoryStore(int folder, DirectoryLimits limits, const Clock& clock)
      : SharedStore(limits.bytes_max, limits.when_full, clock),
        folder_(folder),
        clock_(clock),
        free_space_(folder, limits.free_bytes_min) {}

  Result<void> look() override { return free_space_.look(); }
  Result<std::optional<BlobFile>> find(std::string_view id) override;
  // Also removes files that nobody finished within an hour.
  Result<std::vector<BlobFile>> list() override;
  Result<void> write(const BlobFile& file, const std::string& bytes) override;
  Result<Blob> read(const BlobFile& file) override;
  Result<void> erase(const BlobFile& file) override;

  static std::string bucket_of(std::string_view id);
  int open_bucket(const std::string& bucket) const;

  const Descriptor folder_;
  const Clock& clock_;
  FreeSpace free_space_;
};

}  // namespace diffused::storage
