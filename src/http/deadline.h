// One timer for a connection's current operation. Moving the deadline later, as every new request does,
// touches no timer; only a passing or an earlier one does.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>

namespace diffused::http {

// All methods on the executor's strand. Held by shared_ptr because a wait may outlive the owner for a moment.
class Deadline : public std::enable_shared_from_this<Deadline> {
 public:
  // `on_expiry` runs on the executor when a deadline passes; never after stop().
  Deadline(boost::asio::any_io_executor executor, std::function<void()> on_expiry);

  // Replaces the deadline, and forgets that an earlier one passed.
  void set(std::chrono::milliseconds from_now);
  void clear();
  // Whether the deadline set last has passed.
  bool expired() const { return expired_; }
  // No more calls of on_expiry, whose captures are released.
  void stop();

 private:
  using Time = std::chrono::steady_clock::time_point;

  void wait(Time until);
  void woken();

  boost::asio::steady_timer timer_;
  std::function<void()> on_expiry_;
  Time at_ = Time::max();
  Time armed_for_ = Time::max();
  bool expired_ = false;
};

// Waits; ends early, without an exception, when cancelled.
boost::asio::awaitable<void> pause(boost::asio::any_io_executor executor, std::chrono::milliseconds time);

}  // namespace diffused::http
