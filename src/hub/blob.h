// One file on its way into the cache's blobs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "hub/transfer.h"

namespace diffused::hub {

struct BlobRequest {
  std::string url;
  std::string name;  // the file's path in the repository, for messages
  std::string hash;  // as HubFile's
  std::uint64_t size = 0;
};

// Makes sure that `blobs`/HASH holds the file. Bytes go to HASH.incomplete, where a later call goes on, and
// the name changes once size and hash are right. `progress` is told how many of the bytes are there. Errors:
// those of Transfer; data_loss when what came is not the file (nothing of it is kept); invalid_argument when
// the disk does not take it.
Result<void> fetch_blob(Transfer& transfer, const std::filesystem::path& blobs, const BlobRequest& request,
                        const std::function<void(std::uint64_t)>& progress);

}  // namespace diffused::hub
