// What is read again at SIGHUP while the server runs.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/strand.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace diffused::app {

// From now on a SIGHUP does not end the process: it is remembered until a Reload starts. For a server that
// has something to read again and is still loading its models. Any number of times.
void remember_hangups();

class Reload {
 public:
  struct Part {
    std::string name;  // "keys": the log says keys_reloaded, or keys_kept and why
    std::function<Result<void>()> read;
  };
  // `post` has work done on another thread. Everything must outlive this and the io_context's last run.
  Reload(boost::asio::io_context& io, std::vector<Part> parts,
         std::function<void(std::function<void()>)> post);

  // Reads all parts at each SIGHUP, on a worker thread, one time after the other; at once when there was one
  // before. Without parts SIGHUP ends the process, as it does by default.
  void start();
  // Any thread. What is being read is finished.
  void stop();

 private:
  void wait();
  void read();

  boost::asio::strand<boost::asio::io_context::executor_type> strand_;  // owns what follows
  boost::asio::signal_set signals_;
  bool stopped_ = false;
  const std::vector<Part> parts_;
  const std::function<void(std::function<void()>)> post_;
};

}  // namespace diffused::app
