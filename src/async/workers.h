// The threads for work that takes milliseconds and more, in two lanes, so that what takes milliseconds never
// waits for what takes a second; each lane is shared out by user (fair_queue.h). Any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "async/fair_queue.h"

namespace diffused {

enum class Lane {
  quick,  // encoding, storing and fetching pictures, reading what is small
  slow,   // decoding and fitting what clients send; its threads come last on the machine's cores
};

// The server's own work counts as that of one more user.
inline const std::string kOwnWork;

class Workers {
 public:
  // At least one thread each.
  Workers(int quick_threads, int slow_threads);
  // As join().
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Has `work` done on a thread of the lane, when it is the user's turn. It must not throw. After join() it
  // is dropped.
  void post(Lane lane, const std::string& user, std::function<void()> work);
  // Does what waits, then ends the threads. Not from one of them.
  void join();

 private:
  struct LaneQueue {
    FairQueue queue;
    std::condition_variable changed;
  };
  LaneQueue& of(Lane lane) { return lane == Lane::quick ? quick_ : slow_; }
  void run(LaneQueue& lane);

  std::mutex mutex_;
  // Guarded by mutex_:
  LaneQueue quick_, slow_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace diffused
