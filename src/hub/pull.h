// START HERE for the room `hub`: where models come from. pull() downloads a repository of a Hugging Face hub
// into the cache (cache.h) that find_snapshot() looks into. Each file's size and hash are checked before it
// gets its name, and the revision's ref is written last: what a ref leads to is whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "hub/environment.h"
#include "hub/repo.h"

namespace diffused::hub {

struct PullProgress {
  std::string file;  // the one being fetched
  std::size_t files_done = 0, files = 0;
  std::uint64_t bytes_done = 0, bytes = 0;  // of all files
};

struct PullOptions {
  std::string variant;  // as choose_files
  // Called often, on the calling thread. May be empty.
  std::function<void(const PullProgress&)> progress = {};
  // Between attempts that bring nothing; doubled each time. A hub's Retry-After counts instead.
  std::chrono::milliseconds retry_wait = std::chrono::milliseconds(500);
};

struct Pulled {
  std::filesystem::path folder;  // the snapshot
  std::string commit;
  std::size_t files = 0;
  std::uint64_t bytes = 0;
};

// Downloads what a pipeline needs of the repository; what is there already is not fetched again. Blocks.
// Errors, each one line that names repository or file: not_found, unauthorized, forbidden, unsupported,
// data_loss, unavailable (a hub that stays away), conflict (another process pulls the same repository),
// invalid_argument (the disk). After an error the next call goes on where this one ended.
Result<Pulled> pull(const Repo& repo, const Environment& environment, const PullOptions& options);

}  // namespace diffused::hub
