// Hands work to an executor from a thread that has nobody to tell that it could not be done.
#pragma once

#include <boost/asio/post.hpp>
#include <memory>
#include <new>
#include <thread>
#include <utility>

namespace diffused {

// Posts `work`, which is callable once, to the executor. Without memory for it, it is tried until there is:
// who waits for it would wait for ever.
template <typename Executor, typename Work>
void post_surely(const Executor& executor, std::shared_ptr<Work> work) {
  while (true) {
    try {
      return boost::asio::post(executor, [work] { (*work)(); });
    } catch (const std::bad_alloc&) {
      std::this_thread::yield();
    }
  }
}

}  // namespace diffused
