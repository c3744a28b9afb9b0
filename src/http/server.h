// The HTTP server: listens, keeps count of its connections, and ends in order.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "http/exchange.h"
#include "http/server_options.h"

namespace diffused::http {

class Listener;

// Any number of threads may run the io_context; each connection's handlers run one at a time, on a strand.
class Server {
 public:
  Server(asio::io_context& io, ServerOptions options, std::vector<Route> routes,
         ErrorResponder respond_error);
  // Ends all connections now. The io_context must run on, or be destroyed afterwards, for their memory to be
  // freed.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Loads the certificate, binds and starts to accept. Errors: invalid_argument, unavailable (address in
  // use).
  Result<void> listen();
  // The bound port. Precondition: listen() succeeded.
  std::uint16_t port() const;

  // The rest: any thread.
  // From now on answers say Connection: close, so that clients come back to whoever is there then. All else
  // goes on.
  void retire();
  // No new connections; those that are there go on.
  void stop_accepting();
  // Reads the certificate and its key again, for connections to come. Waits for the disk. Errors: as
  // listen(); then the old ones stay. Precondition: there is one.
  Result<void> reload_certificate();
  // Stops accepting, ends idle connections, lets exchanges finish (their answers say Connection: close), and
  // after `grace` ends those that are left, cancelling their handlers. Returns when no connection is open.
  asio::awaitable<void> drain(std::chrono::milliseconds grace);
  // Ends everything now, without waiting.
  void close();
  const Counters& counters() const;

 private:
  std::shared_ptr<Listener> listener_;
};

}  // namespace diffused::http
