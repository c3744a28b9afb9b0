#include "storage/shared_directory_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace diffused::storage {
namespace {

constexpr std::int64_t kUnfinishedSeconds = 3600;

}  // namespace

Result<std::unique_ptr<SharedDirectoryStore>> SharedDirectoryStore::open(const std::filesystem::path& folder,
                                                                         DirectoryLimits limits,
                                                                         const Clock& clock) {
  std::unique_ptr<SharedDirectoryStore> store(new SharedDirectoryStore(folder, limits, clock));
  TRY_VOID(store->folder_.open());
  TRY_VOID(store->count());
  return store;
}

std::string SharedDirectoryStore::bucket_of(std::string_view id) {
  return id.size() < 2 ? "00" : std::string(id.substr(id.size() - 2));
}

int SharedDirectoryStore::open_bucket(const std::string& bucket) const {
  return ::openat(folder_.get()->get(), bucket.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
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
  auto written = write_to_bucket(file, bytes);
  if (!written) folder_.try_to_write();
  return written;
}

Result<void> SharedDirectoryStore::write_to_bucket(const BlobFile& file, const std::string& bytes) {
  const std::string name = bucket_of(file.id);
  const StoreFolder::Handle folder = folder_.get();
  if (::mkdirat(folder->get(), name.c_str(), 0700) == 0) {
    if (::fsync(folder->get()) != 0) return storage_failure("sync the folder");
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

Result<void> SharedDirectoryStore::look() {
  TRY_VOID(folder_.look());
  if (folder_.failing()) folder_.try_to_write();
  return {};
}

Result<std::vector<BlobFile>> SharedDirectoryStore::list() {
  std::vector<BlobFile> found;
  each_name(folder_.get()->get(), [&](const std::string& bucket_name) {
    if (bucket_name.size() != 2 || bucket_name == "..") return;
    const Descriptor bucket(open_bucket(bucket_name));
    if (!bucket.open()) return;
    each_name(bucket.get(), [&](const std::string& name) {
      struct stat status {};
      if (auto file = find_blob_file(bucket.get(), name)) {
        if (bucket_of(file->id) == bucket_name) found.push_back(*std::move(file));
      } else if (is_unfinished(name) &&
                 ::fstatat(bucket.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                 status.st_mtime + kUnfinishedSeconds <=
                     std::min(clock_.unix_seconds(), clock_.lifetime_seconds())) {
        ::unlinkat(bucket.get(), name.c_str(), 0);
      }
    });
  });
  return found;
}

}  // namespace diffused::storage
