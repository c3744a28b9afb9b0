// Blobs as files of one folder (blob_file.h) that one server has to itself; a person may look into it, and a
// restart finds it again.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "storage/blob_file.h"
#include "storage/blob_store.h"
#include "storage/ledger.h"
#include "storage/store_folder.h"

namespace diffused::storage {

struct DirectoryLimits {
  std::uint64_t bytes_max = 0;  // of all blobs together
  WhenFull when_full = WhenFull::evict;
  std::uint64_t free_bytes_min = 0;  // below so much free space nothing more is kept ("storage_full")
};

class DirectoryStore final : public BlobStore {
 public:
  // Opens `folder`, making it if need be, and holds at most limits.bytes_max bytes of files there. Expired
  // files and those of an interrupted put are removed; files of other names are left alone. A folder that
  // vanishes meanwhile is made anew, one that is put in its place is taken with what it holds. `clock` must
  // outlive the store. Errors: unavailable (another process has the folder open), invalid_argument (it cannot
  // be made or read).
  static Result<std::unique_ptr<DirectoryStore>> open(const std::filesystem::path& folder,
                                                      DirectoryLimits limits, const Clock& clock);
  DirectoryStore(const DirectoryStore&) = delete;
  DirectoryStore& operator=(const DirectoryStore&) = delete;

  Result<void> put(std::string_view id, Blob blob) override;
  Result<void> check_room() const override { return folder_.check(); }
  Result<bool> has(std::string_view id) override;
  Result<Blob> get(std::string_view id) override;
  Result<void> remove(std::string_view id) override;
  std::size_t sweep() override;
  std::uint64_t bytes() const override;
  std::uint64_t bytes_max() const override { return limits_.bytes_max; }
  std::uint64_t evicted() const override { return evicted_; }
  std::uint64_t bytes_of(std::string_view prefix) const override;

 private:
  DirectoryStore(const std::filesystem::path& folder, DirectoryLimits limits, const Clock& clock)
      : folder_(folder, FolderOwner::one_server, limits.free_bytes_min, clock),
        limits_(limits),
        clock_(clock),
        ledger_(limits.bytes_max) {}

  // Takes stock of what is in the folder.
  void adopt();
  // Before something is written: the folder may be another one by now.
  Result<void> look();
  void unlink(const std::vector<BlobFile>& files);

  StoreFolder folder_;
  const DirectoryLimits limits_;
  const Clock& clock_;
  std::mutex looking_;        // never taken under mutex_
  mutable std::mutex mutex_;  // guards ledger_; never held while a file is read or written
  Ledger<BlobFile> ledger_;
  std::atomic<std::uint64_t> evicted_ = 0;
};

}  // namespace diffused::storage
