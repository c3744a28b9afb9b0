#include "http/connection_stream.h"

#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "http/wire_format.h"

namespace diffused::http {

ConnectionStream::ConnectionStream(std::shared_ptr<Connection> connection, Form form,
                                   std::shared_ptr<MemoryCharge> memory)
    : connection_(std::move(connection)), form_(form), memory_(std::move(memory)) {}

asio::awaitable<void> ConnectionStream::event(std::string_view name, std::string_view data,
                                              std::string_view id) {
  return write(format_event(name, data, id));
}

asio::awaitable<void> ConnectionStream::comment(std::string_view text) { return write(format_comment(text)); }

asio::awaitable<void> ConnectionStream::bytes(std::string_view bytes) { return write(std::string(bytes)); }

asio::awaitable<void> ConnectionStream::write(std::string bytes) {
  const auto connection = connection_;  // may be detached while this waits
  const bool full =
      connection && writing_ && backlog_.size() >= connection->limits().stream_backlog_bytes_max;
  const bool held = !memory_ || memory_->cover(backlog_.size() + bytes.size(), "an event");
  if (connection && (full || !held)) connection->close();
  if (!connection || connection->closed()) throw boost::system::system_error(asio::error::operation_aborted);
  backlog_ += bytes;
  if (writing_) co_return;

  writing_ = true;
  // What others leave in the backlog is sent even when this coroutine is cancelled meanwhile.
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  bool sent = true;
  while (sent && !backlog_.empty() && connection_) {
    const std::string sending = std::exchange(backlog_, {});
    const std::string size = form_ == Form::chunked ? format_chunk_size(sending.size()) : std::string();
    const std::string_view end = form_ == Form::chunked ? "\r\n" : "";
    const asio::const_buffer buffers[] = {asio::buffer(size), asio::buffer(sending), asio::buffer(end)};
    sent = co_await connection->write(buffers, connection->limits().stream_write_timeout);
  }
  writing_ = false;
  co_await asio::this_coro::throw_if_cancelled(throws);
  if (!sent) throw boost::system::system_error(asio::error::operation_aborted);
}

asio::awaitable<void> ConnectionStream::end() {
  const auto connection = std::exchange(connection_, nullptr);
  if (!connection || connection->closed()) co_return;
  // A coroutine the handler left behind is in the middle of an event: the message cannot be completed.
  if (writing_) connection->close();
  if (form_ != Form::chunked || connection->closed()) co_return;
  const asio::const_buffer buffers[] = {asio::buffer("0\r\n\r\n", 5)};
  co_await connection->write(buffers, connection->limits().stream_write_timeout);
}

}  // namespace diffused::http
