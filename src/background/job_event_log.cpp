#include "background/job_event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace diffused::background {
namespace {

constexpr std::size_t kEntriesMax = 256;
constexpr std::size_t kBytesMax = 16 << 20;  // previews are pictures

bool parse_number(std::string_view text, int& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string EventId::text() const { return fmt::format("{}.{}", attempt, number); }

std::optional<EventId> EventId::parse(std::string_view text) {
  const std::size_t dot = text.find('.');
  EventId id;
  if (dot == std::string_view::npos || !parse_number(text.substr(0, dot), id.attempt) ||
      !parse_number(text.substr(dot + 1), id.number))
    return std::nullopt;
  return id;
}

void JobEventLog::begin(int attempt, int steps) {
  const std::lock_guard lock(mutex_);
  last_ = {attempt, 0};
  steps_ = steps;
  steps_done_ = 0;
  ++row_changes_;
  notify();
}

JobEventLog::Entry JobEventLog::add(std::string name, std::string data) {
  const std::lock_guard lock(mutex_);
  ++last_.number;
  const Entry entry{last_, std::move(name), std::move(data)};
  keep(entry);
  return entry;
}

void JobEventLog::take(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (entry.id <= last_) return;
  last_ = entry.id;
  keep(std::move(entry));
}

void JobEventLog::keep(Entry entry) {
  bytes_ += entry.data.size();
  entries_.push_back(std::move(entry));
  while (entries_.size() > kEntriesMax || (bytes_ > kBytesMax && entries_.size() > 1)) {
    bytes_ -= entries_.front().data.size();
    entries_.pop_front();
  }
  notify();
}

void JobEventLog::step_done() {
  const std::lock_guard lock(mutex_);
  ++steps_done_;
}

void JobEventLog::stop() {
  const std::lock_guard lock(mutex_);
  steps_ = 0;
}

bool JobEventLog::runs_here() const {
  const std::lock_guard lock(mutex_);
  return steps_ > 0;
}

std::vector<JobEventLog::Entry> JobEventLog::after(const EventId& last) const {
  const std::lock_guard lock(mutex_);
  const auto first =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.id > last; });
  return {first, entries_.end()};
}

int JobEventLog::progress() const {
  const std::lock_guard lock(mutex_);
  return steps_ == 0 ? 0 : std::min(100, 100 * steps_done_ / steps_);
}

void JobEventLog::watch(std::weak_ptr<WakeSignal> signal) {
  const std::lock_guard lock(mutex_);
  signals_.push_back(std::move(signal));
}

void JobEventLog::row_changed() {
  const std::lock_guard lock(mutex_);
  ++row_changes_;
  notify();
}

std::uint64_t JobEventLog::row_changes() const {
  const std::lock_guard lock(mutex_);
  return row_changes_;
}

void JobEventLog::notify() {
  std::erase_if(signals_, [](const auto& signal) {
    const auto there = signal.lock();
    if (there) there->notify();
    return !there;
  });
}

}  // namespace diffused::background
