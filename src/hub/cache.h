// The cache folder that the hub's own tools keep, so that what they downloaded is found and what we download
// is found by them:
//
//   models--owner--name/refs/REVISION       the commit that a branch or tag stood at
//   models--owner--name/snapshots/COMMIT/…  the repository's files, as links into
//   models--owner--name/blobs/HASH          their bytes, once each
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "hub/repo.h"

namespace diffused::hub {

// models--owner--name of the cache; it need not be there.
std::filesystem::path repo_folder(const std::filesystem::path& cache, const Repo& repo);

// The snapshot folder of the repository's revision. Error: not_found, with the command that gets it;
// data_loss for a damaged ref. Any thread.
Result<std::filesystem::path> find_snapshot(const std::filesystem::path& cache, const Repo& repo);

// A snapshot in the cache.
struct Snapshot {
  Repo repo;  // revision: the ref's name, or the commit where no ref leads to it
  std::filesystem::path folder;
};
// Every snapshot of every model, by name. What does not look like one is left out. Any thread.
std::vector<Snapshot> list_snapshots(const std::filesystem::path& cache);

}  // namespace diffused::hub
