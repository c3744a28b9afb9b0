// The book-keeping that every store shares: what is kept, how large, until when, and who makes room.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace diffused::storage {

// Entries by id under a byte quota. Not thread-safe: each store guards its own.
template <typename Value>
class Ledger {
 public:
  explicit Ledger(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t bytes_max() const { return bytes_max_; }
  // Of the entries whose ids begin so.
  std::uint64_t bytes_of(std::string_view prefix) const {
    std::uint64_t bytes = 0;
    for (auto entry = entries_.lower_bound(prefix);
         entry != entries_.end() && entry->first.starts_with(prefix); ++entry)
      bytes += entry->second.size;
    return bytes;
  }

  // The entry of that id, or null when there is none or it has expired by `now`. Valid until the next change.
  const Value* find(std::string_view id, std::int64_t now) const {
    const auto entry = entries_.find(id);
    return entry == entries_.end() || entry->second.order.expires <= now ? nullptr : &entry->second.value;
  }

  // Adds an entry of `size` bytes, at most bytes_max(), and returns the values that left for it: the old one
  // of that id, then those that would have expired first, and of one second those that came first.
  std::vector<Value> add(std::string_view id, std::uint64_t size, std::int64_t expires, Value value) {
    std::vector<Value> removed = take(id);
    while (bytes_ + size > bytes_max_) append(removed, take(std::string(by_expiry_.begin()->second)));
    bytes_ += size;
    by_expiry_.emplace(Order{expires, added_}, id);
    entries_.emplace(id, Entry{size, {expires, added_}, std::move(value)});
    ++added_;
    return removed;
  }

  // Removes the entry of that id and returns its value, or nothing.
  std::vector<Value> take(std::string_view id) {
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) return {};
    bytes_ -= entry->second.size;
    by_expiry_.erase(entry->second.order);
    std::vector<Value> removed;
    removed.push_back(std::move(entry->second.value));
    entries_.erase(entry);
    return removed;
  }

  // Removes all that has expired by `now` and returns the values.
  std::vector<Value> take_expired(std::int64_t now) {
    std::vector<Value> removed;
    while (!by_expiry_.empty() && by_expiry_.begin()->first.expires <= now)
      append(removed, take(std::string(by_expiry_.begin()->second)));
    return removed;
  }

 private:
  // Who leaves first.
  struct Order {
    std::int64_t expires;
    std::uint64_t added;
    auto operator<=>(const Order&) const = default;
  };
  struct Entry {
    std::uint64_t size;
    Order order;
    Value value;
  };

  static void append(std::vector<Value>& to, std::vector<Value> from) {
    for (Value& value : from) to.push_back(std::move(value));
  }

  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<Order, std::string> by_expiry_;
  std::uint64_t added_ = 0;
};

}  // namespace diffused::storage
