// One client's bytes: what came and is not yet parsed, what goes out, and the clock over both.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <memory>
#include <span>
#include <string_view>

#include "http/deadline.h"
#include "http/limits.h"
#include "http/transport.h"

namespace diffused::http {

enum class Read { bytes, full, timed_out, gone };

// All methods on the transport's strand. Never throws for what a client does.
class Connection {
 public:
  Connection(std::unique_ptr<Transport> transport, std::shared_ptr<const Limits> limits);
  ~Connection();

  asio::any_io_executor executor() { return transport_->executor(); }
  bool secure() const { return transport_->secure(); }
  const Limits& limits() const { return *limits_; }

  // For reads and writes to come; write() sets its own.
  Deadline& deadline() { return *deadline_; }

  // False and closed when the handshake fails or the deadline passes.
  asio::awaitable<bool> handshake();

  std::string_view input() const;
  void consume(std::size_t bytes) { input_.consume(bytes); }
  // Gives memory back while nothing is expected.
  void release_input();

  // Waits for more input, at most `bytes_max` in one read. After `gone` the connection is closed.
  asio::awaitable<Read> read(std::size_t bytes_max);

  // Reads ahead, into input(), until the client is gone; then closes. Ends early when cancelled, losing
  // nothing.
  asio::awaitable<void> watch();

  // Sends all bytes; each slice (Limits::write_slice_bytes) within `timeout`. False and closed when it fails.
  // Not interrupted by cancelling the caller.
  asio::awaitable<bool> write(std::span<const asio::const_buffer> buffers, std::chrono::milliseconds timeout);

  // Closes so that the client can still read what was sent. `unread`: it may still be sending; that is read
  // and dropped, within limits.
  asio::awaitable<void> finish(bool unread);
  // Ends every pending operation. Any time.
  void close();
  bool closed() const { return closed_; }

 private:
  std::shared_ptr<const Limits> limits_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<Deadline> deadline_;
  boost::beast::flat_buffer input_;
  bool closed_ = false;
  // Seen by watch(). An end is told once: Asio would wait for another.
  bool input_ended_ = false;
};

}  // namespace diffused::http
