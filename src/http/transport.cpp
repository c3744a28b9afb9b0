#include "http/transport.h"

#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <type_traits>

namespace diffused::http {
namespace {

using Socket = asio::ip::tcp::socket;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

template <typename Stream>
class StreamTransport final : public Transport {
  static constexpr bool kSecure = !std::is_same_v<Stream, Socket>;

 public:
  template <typename... Arguments>
  explicit StreamTransport(Arguments&&... arguments) : stream_(std::forward<Arguments>(arguments)...) {}

  asio::any_io_executor executor() override { return stream_.get_executor(); }
  bool secure() const override { return kSecure; }

  asio::awaitable<error_code> handshake() override {
    error_code error;
    if constexpr (kSecure)
      std::tie(error) = co_await stream_.async_handshake(asio::ssl::stream_base::server, kAwait);
    co_return error;
  }

  asio::awaitable<Transfer> read_some(asio::mutable_buffer buffer) override {
    auto [error, bytes] = co_await stream_.async_read_some(buffer, kAwait);
    // A read that is cancelled may have met the end in TLS, of which Asio tells nobody again.
    if (error == asio::error::operation_aborted && at_end()) error = asio::error::eof;
    co_return Transfer{error, bytes};
  }

  asio::awaitable<Transfer> write(std::span<const asio::const_buffer> buffers) override {
    auto [error, bytes] = co_await asio::async_write(
        stream_, buffers, asio::bind_cancellation_slot(asio::cancellation_slot(), kAwait));
    co_return Transfer{error, bytes};
  }

  asio::awaitable<void> failure() override { co_await socket().async_wait(Socket::wait_error, kAwait); }

  asio::awaitable<void> shutdown_send() override {
    // The close_notify of TLS; waiting for the client's own is the deadline's business.
    if constexpr (kSecure) co_await stream_.async_shutdown(kAwait);
    error_code ignored;
    socket().shutdown(Socket::shutdown_send, ignored);
  }

  void cancel() override {
    error_code ignored;
    socket().cancel(ignored);
  }

  void close() override {
    error_code ignored;
    socket().close(ignored);
  }

 private:
  Socket& socket() {
    if constexpr (kSecure)
      return stream_.next_layer();
    else
      return stream_;
  }

  bool at_end() {
    char byte;
    return socket().is_open() && ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }

  Stream stream_;
};

}  // namespace

std::unique_ptr<Transport> make_tcp_transport(Socket socket) {
  return std::make_unique<StreamTransport<Socket>>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(Socket socket, asio::ssl::context& context) {
  return std::make_unique<StreamTransport<asio::ssl::stream<Socket>>>(std::move(socket), context);
}

}  // namespace diffused::http
