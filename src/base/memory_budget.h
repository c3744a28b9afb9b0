// Bytes of memory that requests hold at one time: one budget for all of them, shared out by user.
//
// A user may hold as much as is left free: one alone half of all, each of two a third, and whoever comes
// finds as much room as any of those who are there has taken. What is small passes as long as there is any
// room. A charge is given back when it goes, so it is kept beside the data it stands for, by whoever keeps
// that.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused {

// Any thread.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  std::uint64_t bytes_max() const { return bytes_max_; }
  std::uint64_t bytes_held() const;

 private:
  friend class MemoryCharge;
  Result<void> take(const std::string& user, std::uint64_t charged, std::uint64_t more,
                    std::string_view what);
  void give_back(const std::string& user, std::uint64_t bytes);

  const std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<std::string, std::uint64_t> held_by_user_;
  std::uint64_t held_ = 0;
};

// What one request holds. One thread at a time, but may go on any.
class MemoryCharge {
 public:
  MemoryCharge(std::shared_ptr<MemoryBudget> budget, std::string user)
      : budget_(std::move(budget)), user_(std::move(user)) {}
  ~MemoryCharge() { keep(0); }
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;

  std::uint64_t bytes() const { return bytes_; }
  // Charges `more` bytes for `what` ("the picture"). Errors: payload_too_large, reason "request_too_large":
  // no request may hold so much; overloaded, "memory_share": the user's others hold too much at this moment;
  // unavailable, "memory_full": all together do. The last two with retry_after.
  Result<void> add(std::uint64_t more, std::string_view what);
  // Charges what is missing to `bytes` in all. Errors: as add.
  Result<void> cover(std::uint64_t bytes, std::string_view what);
  // Gives back all but `bytes`.
  void keep(std::uint64_t bytes);

 private:
  const std::shared_ptr<MemoryBudget> budget_;
  const std::string user_;
  std::uint64_t bytes_ = 0;
};

}  // namespace diffused
