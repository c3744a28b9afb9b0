// Wakes a coroutine that waits for something to have changed.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

namespace diffused {

class WakeSignal {
 public:
  // `executor` is that of the one coroutine that waits.
  explicit WakeSignal(boost::asio::any_io_executor executor);

  // Any thread. A ring that nobody waits for is kept; more of them count as one.
  void notify();

  // Returns after a ring, at the latest after `longest`. Throws operation_aborted when the coroutine is
  // cancelled.
  boost::asio::awaitable<void> wait(std::chrono::milliseconds longest);

 private:
  using Channel = boost::asio::experimental::concurrent_channel<void(boost::system::error_code)>;

  const std::shared_ptr<Channel> channel_;
  boost::asio::steady_timer timer_;
};

}  // namespace diffused
