#include "storage/shared_store.h"

#include <algorithm>
#include <utility>

namespace diffused::storage {
namespace {

// What a sweep leaves of a quota that was exceeded, so that not every picture asks for another sweep.
constexpr double kLowMark = 0.9;
// What is removed at a time, so that no sweep lasts long where each takes a request.
constexpr std::ptrdiff_t kRemovedMax = 500;

}  // namespace

std::uint64_t SharedStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return counted_ + pending_;
}

Result<void> SharedStore::count() {
  TRY(const std::vector<BlobFile> files, list());
  const std::lock_guard lock(mutex_);
  for (const BlobFile& file : files) counted_ += file.size;
  return {};
}

Result<void> SharedStore::put(std::string_view id, Blob blob) {
  TRY(const BlobFile file, describe_blob(id, blob));
  if (file.size > bytes_max_) return fail(ErrorCode::payload_too_large, "the blob is larger than the store");
  TRY_VOID(look());
  TRY_VOID(reserve(file.size));
  auto replaced = replace(file, *blob.bytes);
  const std::lock_guard lock(mutex_);
  pending_ -= file.size;
  if (replaced) counted_ += file.size, added_ += file.size;
  return replaced;
}

bool SharedStore::take_room(std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (counted_ + pending_ + size > bytes_max_) return false;
  pending_ += size;
  return true;
}

Result<void> SharedStore::reserve(std::uint64_t size) {
  if (take_room(size)) return {};
  const std::lock_guard one_at_a_time(tidying_);
  while (!take_room(size)) {
    TRY(const std::size_t removed, tidy(size));
    if (removed > 0) continue;
    if (take_room(size)) return {};
    if (when_full_ == WhenFull::refuse)
      return fail(ErrorCode::unavailable, "there is no room for another picture", {}, "storage_full");
    // All the rest is being written at this moment.
    const std::lock_guard lock(mutex_);
    pending_ += size;
    return {};
  }
  return {};
}

Result<void> SharedStore::replace(const BlobFile& file, const std::string& bytes) {
  TRY(const std::optional<BlobFile> before, find(file.id));
  TRY_VOID(write(file, bytes));
  if (!before) return {};
  // The same bytes put again have the same name.
  if (before->name != file.name) return let_go(*before);
  const std::lock_guard lock(mutex_);
  counted_ -= std::min(counted_, before->size);
  return {};
}

Result<void> SharedStore::let_go(const BlobFile& file) {
  TRY_VOID(erase(file));
  const std::lock_guard lock(mutex_);
  counted_ -= std::min(counted_, file.size);
  return {};
}

Result<bool> SharedStore::has(std::string_view id) {
  if (!is_valid_id(id)) return false;
  TRY(const std::optional<BlobFile> file, find(id));
  return file && file->expires > clock_.lifetime_seconds();
}

Result<Blob> SharedStore::get(std::string_view id) {
  if (!is_valid_id(id)) return gone();
  TRY(const std::optional<BlobFile> file, find(id));
  if (!file || file->expires <= clock_.lifetime_seconds()) return gone();
  auto blob = read(*file);
  if (!blob && blob.error().code == ErrorCode::data_loss) static_cast<void>(let_go(*file));
  return blob;
}

Result<void> SharedStore::remove(std::string_view id) {
  if (!is_valid_id(id)) return {};
  TRY(const std::optional<BlobFile> file, find(id));
  return file ? let_go(*file) : Result<void>();
}

std::size_t SharedStore::sweep() {
  static_cast<void>(look());
  const std::lock_guard one_at_a_time(tidying_);
  return tidy(0).value_or(0);
}

// Counts anew, and removes what has expired and what would leave no room for `wanted` bytes. With tidying_
// held, but not mutex_: others put meanwhile, and what they add may be counted twice until the next time.
Result<std::size_t> SharedStore::tidy(std::uint64_t wanted) {
  {
    const std::lock_guard lock(mutex_);
    added_ = 0;
  }
  TRY(std::vector<BlobFile> files, list());
  const std::vector<BlobFile> leaving = choose(std::move(files), wanted);
  for (const BlobFile& file : leaving) {
    TRY_VOID(erase(file));
  }
  return leaving.size();
}

std::vector<BlobFile> SharedStore::choose(std::vector<BlobFile> files, std::uint64_t wanted) {
  std::sort(files.begin(), files.end(),
            [](const BlobFile& a, const BlobFile& b) { return a.expires < b.expires; });
  const std::lock_guard lock(mutex_);
  counted_ = added_;
  for (const BlobFile& file : files) counted_ += file.size;
  const auto all = [&] { return counted_ + pending_ + wanted; };
  const bool evict = when_full_ == WhenFull::evict && all() > bytes_max_;
  const auto mark = static_cast<std::uint64_t>(kLowMark * static_cast<double>(bytes_max_));
  const std::int64_t now = clock_.lifetime_seconds();
  auto kept = files.begin();
  while (kept != files.end() && kept - files.begin() < kRemovedMax &&
         (kept->expires <= now || (evict && all() > mark))) {
    if (kept->expires > now) ++evicted_;
    counted_ -= (kept++)->size;
  }
  files.erase(kept, files.end());
  return files;
}

}  // namespace diffused::storage
