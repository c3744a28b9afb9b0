#include "async/fair_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace diffused {

void FairQueue::push(const std::string& user, std::function<void()> work) {
  Share& share = shares_[user];
  if (share.idle()) share.seconds = std::max(share.seconds, level_);
  share.waiting.push_back(std::move(work));
  ++waiting_;
}

std::optional<FairQueue::Taken> FairQueue::take() {
  auto next = shares_.end();
  for (auto entry = shares_.begin(); entry != shares_.end(); ++entry) {
    const Share& share = entry->second;
    if (share.waiting.empty()) continue;
    if (next == shares_.end() ||
        std::tie(share.running, share.seconds) < std::tie(next->second.running, next->second.seconds))
      next = entry;
  }
  if (next == shares_.end()) return std::nullopt;
  Share& share = next->second;
  Taken taken{next->first, std::move(share.waiting.front())};
  share.waiting.pop_front();
  --waiting_;
  ++share.running;
  level_ = std::max(level_, share.seconds);
  return taken;
}

void FairQueue::done(const std::string& user, double seconds) {
  Share& share = shares_[user];
  share.seconds += seconds;
  --share.running;
  forget();
}

void FairQueue::forget() {
  std::erase_if(shares_,
                [this](const auto& entry) { return entry.second.idle() && entry.second.seconds <= level_; });
  const bool all_idle = std::ranges::all_of(shares_, [](const auto& entry) { return entry.second.idle(); });
  if (!all_idle) return;
  shares_.clear();  // nobody is kept from anything
  level_ = 0;
}

}  // namespace diffused
