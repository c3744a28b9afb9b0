#include "storage/shared_directory_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>

namespace diffused::storage {
namespace {

constexpr std::int64_t kUnfinishedSeconds = 3600;

// Calls visit(name) for each entry of an open folder.
void each_name(int folder, const std::function<void(const std::string&)>& visit) {
  // A descriptor of its own: they share the place in the folder that has been read up to.
  const int own = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const entries = own < 0 ? nullptr : ::fdopendir(own);
  if (entries == nullptr) {
    if (own >= 0) ::close(own);
    return;
  }
  while (const dirent* const entry = ::readdir(entries)) visit(entry->d_name);
  ::closedir(entries);
}

}  // namespace

Result<std::unique_ptr<SharedDirectoryStore>> SharedDirectoryStore::open(const std::filesystem::path& folder,
                                                                         DirectoryLimits limits,
                                                                         const Clock& clock) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::unique_ptr<SharedDirectoryStore> store(new SharedDirectoryStore(descriptor, limits, clock));
  if (descriptor < 0 || ::faccessat(descriptor, ".", W_OK | X_OK, 0) != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the folder for pictures cannot be made or written", folder.string()));
  TRY_VOID(store->count());
  return store;
}

std::string SharedDirectoryStore::bucket_of(std::string_view id) {
  return id.size() < 2 ? "00" : std::string(id.substr(id.size() - 2));
}

int SharedDirectoryStore::open_bucket(const std::string& bucket) const {
  return ::openat(folder_.get(), bucket.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

Result<std::optional<BlobFile>> SharedDirectoryStore::find(std::string_view id) {
  std::optional<BlobFile> found;
  const Descriptor bucket(open_bucket(bucket_of(id)));
  if (!bucket.open()) {
    if (errno == ENOENT) return found;
    return storage_failure("open a folder");
  }
  each_name(bucket.get(), [&](const std::string& name) {
    if (!name.starts_with(id) || name.size() <= id.size() || name[id.size()] != '.') return;
    auto file = find_blob_file(bucket.get(), name);
    if (file && (!found || file->expires > found->expires)) found = std::move(file);
  });
  return found;
}

Result<void> SharedDirectoryStore::write(const BlobFile& file, const std::string& bytes) {
  const std::string name = bucket_of(file.id);
  if (::mkdirat(folder_.get(), name.c_str(), 0700) == 0) {
    if (::fsync(folder_.get()) != 0) return storage_failure("sync the folder");
  } else if (errno != EEXIST) {
    return storage_failure("make a folder");
  }
  const Descriptor bucket(open_bucket(name));
  if (!bucket.open()) return storage_failure("open a folder");
  return write_blob_file(bucket.get(), file, bytes);
}

Result<Blob> SharedDirectoryStore::read(const BlobFile& file) {
  const Descriptor bucket(open_bucket(bucket_of(file.id)));
  if (!bucket.open()) return storage_failure("open a folder");
  return read_blob_file(bucket.get(), file);
}

Result<void> SharedDirectoryStore::erase(const BlobFile& file) {
  const Descriptor bucket(open_bucket(bucket_of(file.id)));
  if (bucket.open()) unlink_blob_file(bucket.get(), file);
  return {};
}

Result<std::vector<BlobFile>> SharedDirectoryStore::list() {
  std::vector<BlobFile> found;
  each_name(folder_.get(), [&](const std::string& bucket_name) {
    if (bucket_name.size() != 2 || bucket_name == "..") return;
    const Descriptor bucket(open_bucket(bucket_name));
    if (!bucket.open()) return;
    each_name(bucket.get(), [&](const std::string& name) {
      struct stat status {};
      if (auto file = find_blob_file(bucket.get(), name)) {
        if (bucket_of(file->id) == bucket_name) found.push_back(*std::move(file));
      } else if (is_unfinished(name) &&
                 ::fstatat(bucket.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                 status.st_mtime + kUnfinishedSeconds <= clock_.unix_seconds()) {
        ::unlinkat(bucket.get(), name.c_str(), 0);
      }
    });
  });
  return found;
}

}  // namespace diffused::storage
