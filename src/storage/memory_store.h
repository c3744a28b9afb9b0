// Blobs in memory: gone with the process.
#pragma once

#include <mutex>

#include "base/clock.h"
#include "storage/blob_store.h"
#include "storage/ledger.h"

namespace diffused::storage {

class MemoryStore final : public BlobStore {
 public:
  // Holds at most `bytes_max` bytes. `clock` must outlive it.
  MemoryStore(std::uint64_t bytes_max, const Clock& clock) : clock_(clock), ledger_(bytes_max) {}

  Result<void> put(std::string_view id, Blob blob) override;
  Result<bool> has(std::string_view id) override;
  Result<Blob> get(std::string_view id) override;
  Result<void> remove(std::string_view id) override;
  std::size_t sweep() override;
  std::uint64_t bytes() const override;
  std::uint64_t bytes_max() const override { return ledger_.bytes_max(); }
  std::uint64_t evicted() const override;
  std::uint64_t bytes_of(std::string_view prefix) const override;

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards what follows
  Ledger<Blob> ledger_;
  std::uint64_t evicted_ = 0;
};

}  // namespace diffused::storage
