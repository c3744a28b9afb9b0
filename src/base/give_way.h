// How long work on one thread lets shorter work go first. The one who starts it lays down what is to happen
// (ThreadHost); the work itself, which knows nothing of others, says between two of its parts that now would
// do.
#pragma once

#include <functional>

namespace diffused {

// Work that goes on elsewhere while this thread waits for it.
class WorkElsewhere {
 public:
  virtual ~WorkElsewhere() = default;
  virtual void halt() = 0;
  virtual void resume() = 0;
};

// While it lives, give_way() on this thread calls `others`; inside another it takes that one's place until
// its end. `others` is told of work elsewhere, null for none, and halts it before it runs anything: the two
// never compute at once.
class ThreadHost {
 public:
  using Others = std::function<void(WorkElsewhere*)>;
  explicit ThreadHost(Others others);
  ~ThreadHost();
  ThreadHost(const ThreadHost&) = delete;
  ThreadHost& operator=(const ThreadHost&) = delete;

 private:
  friend void give_way(WorkElsewhere*);
  friend bool has_host();
  const Others others_;
  const ThreadHost* const outer_;
};

// Returns when whatever was more urgent is done; at once where there is no host. May take as long as the
// caller's own work, and may throw what the host throws. Nothing the caller holds may be in the way of other
// work of its kind: no lock, nothing shared that is half changed.
void give_way(WorkElsewhere* elsewhere = nullptr);

// Whether anybody on this thread would hear it.
bool has_host();

}  // namespace diffused
