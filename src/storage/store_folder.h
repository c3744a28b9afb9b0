// The folder of a store, found again by its path when somebody moves it away, removes or replaces it while
// the server runs.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "storage/blob_file.h"
#include "storage/outage.h"

namespace diffused::storage {

// Whose the folder is. One's own is locked against other servers, and made anew when it is gone; one that
// many share is waited for, as a folder made in its place would be seen by nobody else.
enum class FolderOwner { one_server, many };

// Any thread.
class StoreFolder {
 public:
  using Handle = std::shared_ptr<const Descriptor>;

  // `free_bytes_min`: what must be free on its disk; 0: nothing. `clock` must outlive it.
  StoreFolder(std::filesystem::path path, FolderOwner owner, std::uint64_t free_bytes_min,
              const Clock& clock);

  // Makes the folder if need be and opens it. Once, before all else. Errors: invalid_argument (it cannot be
  // made, opened or written), unavailable (another server has locked it).
  Result<void> open();

  // The open folder, which stays what it is as long as the handle lives.
  Handle get() const;

  // Looks where the path leads and how much is free there, and opens it when it is another folder now;
  // `true`: it is. Error: unavailable ("storage_full", "storage_failed").
  Result<bool> look();

  // What look() and tried() found last. Never waits. Error: as look().
  Result<void> check() const;

  // Something could not be written, or a look is due: whether a small file can be is found out, for check().
  void try_to_write();
  // Whether the last try failed.
  bool failing() const { return !outage_.check(); }

 private:
  Result<Handle> open_path() const;
  bool leads_here() const;

  const std::filesystem::path path_;
  const FolderOwner owner_;
  FreeSpace free_space_;
  Outage outage_;
  mutable std::mutex mutex_;
  Handle handle_;  // guarded by mutex_
};

}  // namespace diffused::storage
