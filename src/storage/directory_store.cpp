#include "storage/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>

namespace diffused::storage {

Result<std::unique_ptr<DirectoryStore>> DirectoryStore::open(const std::filesystem::path& folder,
                                                             DirectoryLimits limits, const Clock& clock) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the folder for pictures cannot be made or opened", folder.string()));
  }
  std::unique_ptr<DirectoryStore> store(new DirectoryStore(descriptor, limits, clock));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::unavailable,
                fmt::format("{}: another server keeps its pictures there", folder.string()));
  }
  store->adopt(folder);
  return store;
}

DirectoryStore::~DirectoryStore() { ::close(folder_); }

void DirectoryStore::adopt(const std::filesystem::path& folder) {
  const std::int64_t now = clock_.unix_seconds();
  std::vector<BlobFile> stale;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_unfinished(name)) {
      stale.emplace_back().name = name;
    } else if (auto file = find_blob_file(folder_, name)) {
      if (file->expires <= now || file->size > ledger_.bytes_max()) {
        stale.push_back(*std::move(file));
      } else {
        const auto evicted = ledger_.add(file->id, file->size, file->expires, *file);
        stale.insert(stale.end(), evicted.begin(), evicted.end());
      }
    }
  }
  unlink(stale);
}

Result<void> DirectoryStore::put(std::string_view id, Blob blob) {
  TRY(const BlobFile file, describe_blob(id, blob));
  TRY_VOID(free_space_.look());
  std::vector<BlobFile> removed;
  {
    const std::lock_guard lock(mutex_);
    if (file.size > ledger_.bytes_max())
      return fail(ErrorCode::payload_too_large, "the blob is larger than the store");
    if (limits_.when_full == WhenFull::refuse && ledger_.bytes() + file.size > ledger_.bytes_max())
      return fail(ErrorCode::unavailable, "there is no room for another picture", {}, "storage_full");
    // The room is taken before the file is written, so that no number of puts at once exceeds the quota.
    removed = ledger_.add(id, file.size, file.expires, file);
  }
  // The same bytes put again have the same name.
  std::erase_if(removed, [&](const BlobFile& f) { return f.name == file.name; });
  const std::int64_t now = clock_.unix_seconds();
  evicted_ +=
      std::ranges::count_if(removed, [&](const BlobFile& f) { return f.id != id && f.expires > now; });
  unlink(removed);
  auto written = write_blob_file(folder_, file, *blob.bytes);
  if (!written) {
    const std::lock_guard lock(mutex_);
    ledger_.take(id);
  }
  return written;
}

Result<bool> DirectoryStore::has(std::string_view id) {
  const std::lock_guard lock(mutex_);
  return ledger_.find(id, clock_.unix_seconds()) != nullptr;
}

Result<Blob> DirectoryStore::get(std::string_view id) {
  BlobFile file;
  {
    const std::lock_guard lock(mutex_);
    const BlobFile* found = ledger_.find(id, clock_.unix_seconds());
    if (found == nullptr) return fail(ErrorCode::not_found, "there is nothing of that id, or it has expired");
    file = *found;
  }
  auto blob = read_blob_file(folder_, file);
  if (!blob && blob.error().code == ErrorCode::data_loss) static_cast<void>(remove(id));
  return blob;
}

Result<void> DirectoryStore::remove(std::string_view id) {
  std::vector<BlobFile> removed;
  {
    const std::lock_guard lock(mutex_);
    removed = ledger_.take(id);
  }
  unlink(removed);
  return {};
}

std::size_t DirectoryStore::sweep() {
  static_cast<void>(free_space_.look());
  std::vector<BlobFile> removed;
  {
    const std::lock_guard lock(mutex_);
    removed = ledger_.take_expired(clock_.unix_seconds());
  }
  unlink(removed);
  return removed.size();
}

std::uint64_t DirectoryStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return ledger_.bytes();
}

void DirectoryStore::unlink(const std::vector<BlobFile>& files) {
  for (const BlobFile& file : files) unlink_blob_file(folder_, file);
}

}  // namespace diffused::storage
