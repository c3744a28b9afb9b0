#include "base/memory_budget.h"

#include <fmt/format.h>

#include <algorithm>

namespace diffused {
namespace {

// A charge of no more than this is refused only when there is no room at all.
constexpr std::uint64_t kSmallBytes = 64 << 10;
// Others are done in a moment: what holds memory for long is small beside what is decoded.
constexpr std::chrono::milliseconds kRetryAfter{2'000};

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6);
}

tl::unexpected<Error> later(ErrorCode code, std::string message, std::string reason) {
  return tl::unexpected(Error{code, std::move(message), {}, std::move(reason), kRetryAfter});
}

}  // namespace

std::uint64_t MemoryBudget::bytes_held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

Result<void> MemoryBudget::take(const std::string& user, std::uint64_t charged, std::uint64_t more,
                                std::string_view what) {
  const std::uint64_t whole = charged + more;
  if (whole > bytes_max_ / 2)
    return fail(ErrorCode::payload_too_large,
                fmt::format("with {} this request would hold {} of memory; one may hold {}", what,
                            megabytes(whole), megabytes(bytes_max_ / 2)),
                {}, "request_too_large");
  const std::lock_guard lock(mutex_);
  const std::uint64_t free = bytes_max_ - std::min(bytes_max_, held_);
  std::uint64_t& own = held_by_user_[user];
  const bool small = whole <= kSmallBytes;
  if (more <= free && (small || own + more <= free - more)) {
    own += more;
    held_ += more;
    return {};
  }
  const bool others_of_the_user = own > charged;
  if (own == 0) held_by_user_.erase(user);
  if (others_of_the_user)
    return later(
        ErrorCode::overloaded,
        fmt::format("your other requests hold too much memory at this moment for {}; try again", what),
        "memory_share");
  return later(ErrorCode::unavailable,
               fmt::format("the server has no memory for {} at this moment; try again", what), "memory_full");
}

void MemoryBudget::give_back(const std::string& user, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto own = held_by_user_.find(user);
  own->second -= bytes;
  held_ -= bytes;
  if (own->second == 0) held_by_user_.erase(own);
}

Result<void> MemoryCharge::add(std::uint64_t more, std::string_view what) {
  if (more == 0) return {};
  TRY_VOID(budget_->take(user_, bytes_, more, what));
  bytes_ += more;
  return {};
}

Result<void> MemoryCharge::cover(std::uint64_t bytes, std::string_view what) {
  return bytes > bytes_ ? add(bytes - bytes_, what) : Result<void>();
}

void MemoryCharge::keep(std::uint64_t bytes) {
  if (bytes >= bytes_) return;
  budget_->give_back(user_, bytes_ - bytes);
  bytes_ = bytes;
}

}  // namespace diffused
