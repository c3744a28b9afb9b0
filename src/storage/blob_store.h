// START HERE for the room `storage`: bytes kept by id until they expire. It knows nothing of pictures or
// requests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused::storage {

struct Blob {
  std::shared_ptr<const std::string> bytes;  // shared, so that an answer needs no copy
  std::string content_type;                  // "image/png"
  std::int64_t expires = 0;                  // unix seconds; from then on it is gone
};

// What becomes of a blob for which there is no room: older ones make it, or it is refused ("storage_full").
enum class WhenFull { evict, refuse };

// Whoever knows an id may read it, so ids come from random_id(). Any thread, but it may wait for a disk
// or for another server: never on an io thread.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Keeps the blob, whole or not at all; an older one of that id is replaced. When the store's byte quota is
  // full, those that would expire first make room. Errors: invalid_argument (no valid id, a content type the
  // store does not know), payload_too_large (larger than the quota), unavailable ("storage_full", or
  // "storage_failed" where the store is another server), internal.
  virtual Result<void> put(std::string_view id, Blob blob) = 0;

  // Whether more could be kept at the last put or sweep, so that nobody works for what could not be. Never
  // waits: also for an io thread. Error: unavailable ("storage_full", "storage_failed").
  virtual Result<void> check_room() const { return {}; }

  // Finds out whether it works, for who has asked it nothing for a while; takes as long as one question.
  virtual void ask() {}

  // Whether there is a blob of that id. Error: unavailable "storage_failed".
  virtual Result<bool> has(std::string_view id) = 0;

  // Errors: not_found (never there, expired, evicted, no valid id), data_loss (damaged: it is removed),
  // unavailable "storage_failed", internal.
  virtual Result<Blob> get(std::string_view id) = 0;

  // Removes it; without an error when there is none.
  virtual Result<void> remove(std::string_view id) = 0;

  // Removes what has expired and returns how many. To be called now and then; get() never gives what has
  // expired.
  virtual std::size_t sweep() = 0;

  // Bytes kept at present, and how many there may be.
  virtual std::uint64_t bytes() const = 0;
  virtual std::uint64_t bytes_max() const = 0;
  // How many blobs that had not expired have made room for others here, since the start.
  virtual std::uint64_t evicted() const = 0;
  // Of those whose ids begin so. Nothing where only a look into a store that many share would tell.
  virtual std::uint64_t bytes_of(std::string_view /*prefix*/) const { return 0; }
};

// 1 to 64 of a-z, 0-9 and '_': nothing that means anything to a file system.
bool is_valid_id(std::string_view id);

}  // namespace diffused::storage
