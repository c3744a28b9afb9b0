// A byte stream to one client: TCP, or TLS over TCP, or a test's own. Everything above it is the same for
// all.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <memory>
#include <span>

namespace diffused::http {

namespace asio = boost::asio;

struct Transfer {
  boost::system::error_code error;
  std::size_t bytes = 0;
};

// All methods on the stream's executor, a strand. One read and one write may be pending at a time.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual asio::any_io_executor executor() = 0;
  virtual bool secure() const = 0;
  // The TLS handshake; nothing for TCP.
  virtual asio::awaitable<boost::system::error_code> handshake() = 0;
  // At least one byte, or an error. Cancelling the awaiting coroutine loses no bytes.
  virtual asio::awaitable<Transfer> read_some(asio::mutable_buffer buffer) = 0;
  // All bytes, or an error. Cancelling the awaiting coroutine does not interrupt it, so that a message is
  // never torn; cancel() and close() do.
  virtual asio::awaitable<Transfer> write(std::span<const asio::const_buffer> buffers) = 0;
  // Returns when the connection has failed (reset, closed), not when bytes arrive.
  virtual asio::awaitable<void> failure() = 0;
  // Tells the client that nothing more will be sent; reading goes on.
  virtual asio::awaitable<void> shutdown_send() = 0;
  // Ends pending operations with operation_aborted.
  virtual void cancel() = 0;
  virtual void close() = 0;
};

std::unique_ptr<Transport> make_tcp_transport(asio::ip::tcp::socket socket);
// The transport keeps what it needs of the context, which may go.
std::unique_ptr<Transport> make_tls_transport(asio::ip::tcp::socket socket, asio::ssl::context& context);

}  // namespace diffused::http
