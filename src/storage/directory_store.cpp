#include "storage/directory_store.h"

#include <algorithm>

namespace diffused::storage {

Result<std::unique_ptr<DirectoryStore>> DirectoryStore::open(const std::filesystem::path& folder,
                                                             DirectoryLimits limits, const Clock& clock) {
  std::unique_ptr<DirectoryStore> store(new DirectoryStore(folder, limits, clock));
  TRY_VOID(store->folder_.open());
  store->adopt();
  return store;
}

void DirectoryStore::adopt() {
  const StoreFolder::Handle folder = folder_.get();
  const std::int64_t now = clock_.lifetime_seconds();
  std::vector<BlobFile> stale;
  Ledger<BlobFile> found(limits_.bytes_max);
  each_name(folder->get(), [&](const std::string& name) {
    if (is_unfinished(name)) {
      stale.emplace_back().name = name;
    } else if (auto file = find_blob_file(folder->get(), name)) {
      if (file->expires <= now || file->size > found.bytes_max()) {
        stale.push_back(*std::move(file));
      } else {
        const auto evicted = found.add(file->id, file->size, file->expires, *file);
        stale.insert(stale.end(), evicted.begin(), evicted.end());
      }
    }
  });
  unlink(stale);
  const std::lock_guard lock(mutex_);
  ledger_ = std::move(found);
}

Result<void> DirectoryStore::look() {
  // Who comes second waits until the other has taken stock.
  const std::lock_guard lock(looking_);
  TRY(const bool moved, folder_.look());
  if (moved) adopt();
  return {};
}

Result<void> DirectoryStore::put(std::string_view id, Blob blob) {
  TRY(const BlobFile file, describe_blob(id, blob));
  TRY_VOID(look());
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
  const std::int64_t now = clock_.lifetime_seconds();
  evicted_ +=
      std::ranges::count_if(removed, [&](const BlobFile& f) { return f.id != id && f.expires > now; });
  unlink(removed);
  auto written = write_blob_file(folder_.get()->get(), file, *blob.bytes);
  if (!written) {
    folder_.try_to_write();
    const std::lock_guard lock(mutex_);
    ledger_.take(id);
  }
  return written;
}

Result<bool> DirectoryStore::has(std::string_view id) {
  const std::lock_guard lock(mutex_);
  return ledger_.find(id, clock_.lifetime_seconds()) != nullptr;
}

Result<Blob> DirectoryStore::get(std::string_view id) {
  BlobFile file;
  {
    const std::lock_guard lock(mutex_);
    const BlobFile* found = ledger_.find(id, clock_.lifetime_seconds());
    if (found == nullptr) return fail(ErrorCode::not_found, "there is nothing of that id, or it has expired");
    file = *found;
  }
  auto blob = read_blob_file(folder_.get()->get(), file);
  // Damaged, or somebody removed it.
  if (!blob && blob.error().code != ErrorCode::unavailable) static_cast<void>(remove(id));
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
  static_cast<void>(look());
  if (folder_.failing()) folder_.try_to_write();
  std::vector<BlobFile> removed;
  {
    const std::lock_guard lock(mutex_);
    removed = ledger_.take_expired(clock_.lifetime_seconds());
  }
  unlink(removed);
  return removed.size();
}

std::uint64_t DirectoryStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return ledger_.bytes();
}

std::uint64_t DirectoryStore::bytes_of(std::string_view prefix) const {
  const std::lock_guard lock(mutex_);
  return ledger_.bytes_of(prefix);
}

void DirectoryStore::unlink(const std::vector<BlobFile>& files) {
  const StoreFolder::Handle folder = folder_.get();
  for (const BlobFile& file : files) unlink_blob_file(folder->get(), file);
}

}  // namespace diffused::storage
