// One connection's life: take a request in, run its handler while watching the client, answer, again.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "http/answer.h"
#include "http/connection.h"
#include "http/shell.h"

namespace diffused::http {

// All methods on the connection's strand.
class Session {
 public:
  // `peer`: as Request::peer.
  Session(std::unique_ptr<Transport> transport, std::string peer, std::shared_ptr<Shell> shell);

  // Serves until the connection ends, by either side. Throws nothing a client can cause.
  static asio::awaitable<void> serve(std::shared_ptr<Session> self);

  asio::any_io_executor executor() { return connection_->executor(); }
  // Shell::draining was set: an idle connection ends now, a busy one with its answer.
  void drain();
  // Ends now; a running handler is cancelled.
  void close() { connection_->close(); }

 private:
  asio::awaitable<bool> await_request();
  // What becomes of the connection after an exchange; `drop`: what the client still sends is not looked at.
  enum class After { next, close, drop };
  asio::awaitable<After> exchange();
  asio::awaitable<void> answer_by(const Route& route, Answer& answer);
  asio::awaitable<void> answer_fault(Answer& answer, const std::string& what);

  std::shared_ptr<Shell> shell_;
  std::shared_ptr<Connection> connection_;
  std::string peer_;
  std::size_t exchanges_ = 0;
  bool idle_ = false;
};

}  // namespace diffused::http
