// What happens to a job while it runs, in this process or as far as another tells of it, kept for those who
// watch it.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/wake_signal.h"

namespace diffused::background {

// How often the rows of a store that many servers share are looked at without being told of a change.
inline constexpr std::chrono::seconds kRowLook{2};

// Names an event of a job: the attempt it belongs to, and its number there. On the wire "2.17".
struct EventId {
  int attempt = 0;
  int number = 0;
  auto operator<=>(const EventId&) const = default;
  std::string text() const;
  static std::optional<EventId> parse(std::string_view text);
};

// Any thread.
class JobEventLog {
 public:
  struct Entry {
    EventId id;
    std::string name;
    std::string data;  // one line of JSON
  };

  // A new attempt begins, of `steps` denoising steps in all.
  void begin(int attempt, int steps);
  // Returns what it has become.
  Entry add(std::string name, std::string data);
  // An event that another server told of; older ones than the last are known already.
  void take(Entry entry);
  void step_done();
  // The attempt runs here no more.
  void stop();
  // Between begin and stop.
  bool runs_here() const;
  // The kept events after `last`, oldest first. Old ones are dropped when they are many or large.
  std::vector<Entry> after(const EventId& last) const;
  // Steps done of this attempt, in percent; 0 before it begins.
  int progress() const;

  // `signal` rings at each change from now on, as long as it is there.
  void watch(std::weak_ptr<WakeSignal> signal);
  // The job's row has changed: rings the bells, and counts.
  void row_changed();
  std::uint64_t row_changes() const;

 private:
  // With mutex_ held:
  void keep(Entry entry);
  void notify();

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<Entry> entries_;
  std::size_t bytes_ = 0;
  EventId last_;
  int steps_ = 0;
  int steps_done_ = 0;
  std::uint64_t row_changes_ = 0;
  std::vector<std::weak_ptr<WakeSignal>> signals_;
};

}  // namespace diffused::background
