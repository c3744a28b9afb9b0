#include "async/workers.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>

namespace diffused {
namespace {

// The device's threads and those that answer clients come first: a fifth of their weight.
constexpr int kSlowNiceness = 7;

// Of the calling thread alone, as Linux has it.
void give_way() { ::setpriority(PRIO_PROCESS, 0, ::getpriority(PRIO_PROCESS, 0) + kSlowNiceness); }

}  // namespace

Workers::Workers(int quick_threads, int slow_threads) {
  for (int i = 0; i < std::max(1, quick_threads); ++i) threads_.emplace_back([this] { run(quick_); });
  for (int i = 0; i < std::max(1, slow_threads); ++i)
    threads_.emplace_back([this] {
      give_way();
      run(slow_);
    });
}

Workers::~Workers() { join(); }

void Workers::post(Lane lane, const std::string& user, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (ending_) return;
  of(lane).queue.push(user, std::move(work));
  of(lane).changed.notify_one();
}

void Workers::join() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    quick_.changed.notify_all();
    slow_.changed.notify_all();
  }
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void Workers::run(LaneQueue& lane) {
  std::unique_lock lock(mutex_);
  while (true) {
    lane.changed.wait(lock, [&] { return ending_ || !lane.queue.empty(); });
    auto taken = lane.queue.take();
    if (!taken) return;
    lock.unlock();
    const auto begin = std::chrono::steady_clock::now();
    taken->work();
    taken->work = nullptr;  // what it holds goes before the lock is taken
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    lock.lock();
    lane.queue.done(taken->user, took.count());
  }
}

}  // namespace diffused
