#include "storage/memory_store.h"

namespace diffused::storage {

Result<void> MemoryStore::put(std::string_view id, Blob blob) {
  if (!is_valid_id(id)) return fail(ErrorCode::invalid_argument, "that is not an id", "id");
  const std::lock_guard lock(mutex_);
  const std::uint64_t size = blob.bytes->size();
  if (size > ledger_.bytes_max())
    return fail(ErrorCode::payload_too_large, "the blob is larger than the store");
  const std::int64_t expires = blob.expires;
  const Blob* const before = ledger_.find(id, clock_.lifetime_seconds());
  const std::shared_ptr<const std::string> replaced = before == nullptr ? nullptr : before->bytes;
  for (const Blob& left : ledger_.add(id, size, expires, std::move(blob)))
    if (left.bytes != replaced && left.expires > clock_.lifetime_seconds()) ++evicted_;
  return {};
}

Result<bool> MemoryStore::has(std::string_view id) {
  const std::lock_guard lock(mutex_);
  return ledger_.find(id, clock_.lifetime_seconds()) != nullptr;
}

std::uint64_t MemoryStore::evicted() const {
  const std::lock_guard lock(mutex_);
  return evicted_;
}

Result<Blob> MemoryStore::get(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const Blob* blob = ledger_.find(id, clock_.lifetime_seconds());
  if (blob == nullptr) return fail(ErrorCode::not_found, "there is nothing of that id, or it has expired");
  return *blob;
}

Result<void> MemoryStore::remove(std::string_view id) {
  const std::lock_guard lock(mutex_);
  ledger_.take(id);
  return {};
}

std::size_t MemoryStore::sweep() {
  const std::lock_guard lock(mutex_);
  return ledger_.take_expired(clock_.lifetime_seconds()).size();
}

std::uint64_t MemoryStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return ledger_.bytes();
}

std::uint64_t MemoryStore::bytes_of(std::string_view prefix) const {
  const std::lock_guard lock(mutex_);
  return ledger_.bytes_of(prefix);
}

}  // namespace diffused::storage
