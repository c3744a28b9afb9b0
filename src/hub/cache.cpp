#include "hub/cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <tuple>

namespace diffused::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "models--";

bool is_folder(const fs::path& path) {
  std::error_code ec;
  return fs::is_directory(path, ec);
}

// A ref's file holds a commit and perhaps an end of line; empty when it does not.
std::string read_ref(const fs::path& file) {
  std::ifstream stream(file);
  std::string commit;
  stream >> commit;
  return is_commit(commit) ? commit : std::string();
}

void add_snapshots(const fs::path& folder, const Repo& repo, std::vector<Snapshot>& found) {
  std::error_code ec;
  std::set<std::string> named;
  const fs::path refs = folder / "refs", snapshots = folder / "snapshots";
  for (fs::recursive_directory_iterator entry(refs, ec), end; !ec && entry != end; entry.increment(ec)) {
    if (!entry->is_regular_file(ec)) continue;
    const std::string commit = read_ref(entry->path());
    if (commit.empty() || !is_folder(snapshots / commit)) continue;
    named.insert(commit);
    found.push_back({{repo.owner, repo.name, entry->path().lexically_relative(refs).generic_string()},
                     snapshots / commit});
  }
  for (const auto& entry : fs::directory_iterator(snapshots, ec)) {
    const std::string commit = entry.path().filename().string();
    if (is_commit(commit) && !named.contains(commit))
      found.push_back({{repo.owner, repo.name, commit}, entry.path()});
  }
}

}  // namespace

fs::path repo_folder(const fs::path& cache, const Repo& repo) {
  return cache / fmt::format("{}{}--{}", kPrefix, repo.owner, repo.name);
}

Result<fs::path> find_snapshot(const fs::path& cache, const Repo& repo) {
  const fs::path folder = repo_folder(cache, repo), ref = folder / "refs" / repo.revision;
  std::error_code ec;
  std::string commit;
  if (fs::is_regular_file(ref, ec)) {
    commit = read_ref(ref);
    if (commit.empty())
      return fail(ErrorCode::data_loss, fmt::format("{}: damaged: it holds no commit", ref.string()),
                  ref.string());
  } else if (is_commit(repo.revision)) {
    commit = repo.revision;
  }
  if (!commit.empty() && is_folder(folder / "snapshots" / commit)) return folder / "snapshots" / commit;
  const std::string wanted = repo.revision == "main" ? repo.id() : repo.id() + "@" + repo.revision;
  return fail(ErrorCode::not_found,
              fmt::format("{}: no such folder, and not in the cache {}; `diffused pull {}` gets it", wanted,
                          cache.string(), wanted),
              wanted);
}

std::vector<Snapshot> list_snapshots(const fs::path& cache) {
  std::vector<Snapshot> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(cache, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const std::size_t dashes = name.find("--", kPrefix.size());
    if (dashes == name.npos) continue;
    const std::string owner = name.substr(kPrefix.size(), dashes - kPrefix.size());
    if (const auto repo = parse_repo(owner + "/" + name.substr(dashes + 2)))
      add_snapshots(entry.path(), *repo, found);
  }
  std::ranges::sort(found, {}, [](const Snapshot& snapshot) {
    return std::tuple(snapshot.repo.id(), snapshot.repo.revision);
  });
  return found;
}

}  // namespace diffused::hub
