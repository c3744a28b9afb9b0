#include "api/job_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace diffused::api {
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

void JobFeed::begin(int attempt, int steps) {
  const std::lock_guard lock(mutex_);
  last_ = {attempt, 0};
  steps_ = steps;
  steps_done_ = 0;
  ++row_changes_;
  ring();
}

JobFeed::Entry JobFeed::add(std::string name, std::string data) {
  const std::lock_guard lock(mutex_);
  ++last_.number;
  const Entry entry{last_, std::move(name), std::move(data)};
  keep(entry);
  return entry;
}

void JobFeed::take(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (entry.id <= last_) return;
  last_ = entry.id;
  keep(std::move(entry));
}

void JobFeed::keep(Entry entry) {
  bytes_ += entry.data.size();
  entries_.push_back(std::move(entry));
  while (entries_.size() > kEntriesMax || (bytes_ > kBytesMax && entries_.size() > 1)) {
    bytes_ -= entries_.front().data.size();
    entries_.pop_front();
  }
  ring();
}

void JobFeed::step_done() {
  const std::lock_guard lock(mutex_);
  ++steps_done_;
}

void JobFeed::stop() {
  const std::lock_guard lock(mutex_);
  steps_ = 0;
}

bool JobFeed::runs_here() const {
  const std::lock_guard lock(mutex_);
  return steps_ > 0;
}

std::vector<JobFeed::Entry> JobFeed::after(const EventId& last) const {
  const std::lock_guard lock(mutex_);
  const auto first =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.id > last; });
  return {first, entries_.end()};
}

int JobFeed::progress() const {
  const std::lock_guard lock(mutex_);
  return steps_ == 0 ? 0 : std::min(100, 100 * steps_done_ / steps_);
}

void JobFeed::watch(std::weak_ptr<Bell> bell) {
  const std::lock_guard lock(mutex_);
  bells_.push_back(std::move(bell));
}

void JobFeed::row_changed() {
  const std::lock_guard lock(mutex_);
  ++row_changes_;
  ring();
}

std::uint64_t JobFeed::row_changes() const {
  const std::lock_guard lock(mutex_);
  return row_changes_;
}

void JobFeed::ring() {
  std::erase_if(bells_, [](const auto& bell) {
    const auto there = bell.lock();
    if (there) there->ring();
    return !there;
  });
}

}  // namespace diffused::api
