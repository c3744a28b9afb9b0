// What the stores have in common whose blobs many servers share, each under the name that blob_file.h gives
// it: the quota. No server knows what the others keep: each looks into the store. Where the blobs lie is a
// derived class's to say.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "storage/blob_file.h"
#include "storage/blob_store.h"

namespace diffused::storage {

class SharedStore : public BlobStore {
 public:
  Result<void> put(std::string_view id, Blob blob) final;
  Result<bool> has(std::string_view id) final;
  Result<Blob> get(std::string_view id) final;
  Result<void> remove(std::string_view id) final;
  // Removes what has expired, then what expires first beyond the quota; some hundred at a time. Any number
  // of servers may sweep at once.
  std::size_t sweep() final;
  // As of the last sweep, and what was put and removed here since.
  std::uint64_t bytes() const final;
  std::uint64_t bytes_max() const final { return bytes_max_; }
  std::uint64_t evicted() const final { return evicted_; }

 protected:
  // `bytes_max` is for all servers together; as each knows of the others' blobs only from its last sweep, it
  // may be exceeded by what comes between two sweeps. `clock` must outlive the store; the servers' clocks
  // should agree to the minute.
  SharedStore(std::uint64_t bytes_max, WhenFull when_full, const Clock& clock)
      : bytes_max_(bytes_max), when_full_(when_full), clock_(clock) {}

  // Counts what is there; for who opens the store.
  Result<void> count();

 private:
  // Whether there may be room for more, before anything is written. Error: unavailable.
  virtual Result<void> look() { return {}; }
  // The blob of that id, a valid one, if there is one. Two servers may have put the same id one after the
  // other; the one that lasts longer is the later one.
  virtual Result<std::optional<BlobFile>> find(std::string_view id) = 0;
  virtual Result<std::vector<BlobFile>> list() = 0;
  // Whole or not at all; the same name again is no error.
  virtual Result<void> write(const BlobFile& file, const std::string& bytes) = 0;
  // Errors: not_found, data_loss, others.
  virtual Result<Blob> read(const BlobFile& file) = 0;
  // Without an error when it is gone already.
  virtual Result<void> erase(const BlobFile& file) = 0;

  bool take_room(std::uint64_t size);
  Result<void> reserve(std::uint64_t size);
  Result<void> replace(const BlobFile& file, const std::string& bytes);
  Result<void> let_go(const BlobFile& file);
  Result<std::size_t> tidy(std::uint64_t wanted);
  std::vector<BlobFile> choose(std::vector<BlobFile> files, std::uint64_t wanted);

  const std::uint64_t bytes_max_;
  const WhenFull when_full_;
  const Clock& clock_;
  std::mutex tidying_;  // held by the one that looks through the whole store; never taken under mutex_
  mutable std::mutex mutex_;
  // Guarded by mutex_: bytes of the blobs known of, of those added since the last list() began, and of those
  // that are being written here.
  std::uint64_t counted_ = 0;
  std::uint64_t added_ = 0;
  std::uint64_t pending_ = 0;
  std::atomic<std::uint64_t> evicted_ = 0;
};

}  // namespace diffused::storage
