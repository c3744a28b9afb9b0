// A server-sent event stream on a connection.
#pragma once

#include <string>

#include "http/connection.h"
#include "http/exchange.h"

namespace diffused::http {

// On the connection's strand. A single writer waits for each event to leave, one slice per
// Limits::stream_write_timeout. A second coroutine that writes meanwhile leaves its events in a backlog,
// which the first one sends; when the backlog is full the client is cut off.
class ConnectionStream final : public EventStream {
 public:
  enum class Form { chunked, plain };

  // `memory`: what events are charged to until the client has read them; a client for whom there is no more
  // is cut off. Null: nobody counts.
  ConnectionStream(std::shared_ptr<Connection> connection, Form form, std::shared_ptr<MemoryCharge> memory);

  asio::awaitable<void> event(std::string_view name, std::string_view data, std::string_view id) override;
  asio::awaitable<void> comment(std::string_view text) override;
  asio::awaitable<void> bytes(std::string_view bytes) override;

  // Completes the message; later events throw.
  asio::awaitable<void> end();
  // The connection is no longer there for this stream; later events throw.
  void detach() { connection_ = nullptr; }

 private:
  asio::awaitable<void> write(std::string bytes);

  std::shared_ptr<Connection> connection_;
  Form form_;
  const std::shared_ptr<MemoryCharge> memory_;
  std::string backlog_;
  bool writing_ = false;
};

}  // namespace diffused::http
