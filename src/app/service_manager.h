// What a service manager such as systemd is told: when the server is ready, that it still moves, that it
// ends.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace diffused::app {

// One datagram a message to the socket that NOTIFY_SOCKET names, as sd_notify(3) describes; without that
// variable nothing is done. Any thread; never waits, and what cannot be sent is left.
class ServiceManager {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  explicit ServiceManager(const Strand& strand);
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  void ready() const { tell("READY=1"); }
  // Followed by ready().
  void reloading() const;
  void stopping() const { tell("STOPPING=1"); }
  // Says, on the strand, that the server still moves, as long as `moves`: twice in the time after which the
  // manager starts a server anew that has not said so. Nothing where it does not watch.
  void watch(std::function<bool()> moves);
  // On the strand.
  void stop_watching() {
    watch_interval_.reset();
    timer_.cancel();
  }

 private:
  void tell(std::string_view message) const;

  std::string address_;  // empty: there is no service manager
  int socket_ = -1;
  std::optional<std::chrono::microseconds> watch_interval_;
  boost::asio::steady_timer timer_;
};

}  // namespace diffused::app
