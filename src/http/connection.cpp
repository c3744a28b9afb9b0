#include "http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>

namespace diffused::http {
namespace {

// What an idle connection keeps ready; most requests' headers fit.
constexpr std::size_t kIdleInputBytes = 1 << 10;

// Takes up to `bytes_max` from the front of `buffers`; at most two of them, a header block and a body.
std::size_t take_slice(std::span<const asio::const_buffer> buffers, std::size_t offset, std::size_t bytes_max,
                       std::array<asio::const_buffer, 3>& slice) {
  std::size_t taken = 0;
  std::size_t used = 0;
  for (const auto& buffer : buffers) {
    if (offset >= buffer.size()) {
      offset -= buffer.size();
      continue;
    }
    if (used == slice.size() || taken == bytes_max) break;
    slice[used] = asio::buffer(buffer + offset, bytes_max - taken);
    taken += slice[used++].size();
    offset = 0;
  }
  return used;
}

}  // namespace

Connection::Connection(std::unique_ptr<Transport> transport, std::shared_ptr<const Limits> limits)
    : limits_(std::move(limits)),
      transport_(std::move(transport)),
      deadline_(std::make_shared<Deadline>(transport_->executor(), [this] { transport_->cancel(); })),
      input_(limits_->input_bytes_max) {}

Connection::~Connection() { deadline_->stop(); }

asio::awaitable<bool> Connection::handshake() {
  deadline_->set(limits_->handshake_timeout);
  const auto error = co_await transport_->handshake();
  if (error || deadline_->expired()) close();
  co_return !closed_;
}

std::string_view Connection::input() const {
  const auto bytes = input_.cdata();
  return {static_cast<const char*>(bytes.data()), bytes.size()};
}

void Connection::release_input() {
  if (input_.size() == 0 && input_.capacity() > kIdleInputBytes) input_.shrink_to_fit();
}

asio::awaitable<Read> Connection::read(std::size_t bytes_max) {
  if (input_ended_) close();
  if (closed_) co_return Read::gone;
  if (deadline_->expired()) co_return Read::timed_out;
  const auto room = std::min(bytes_max, input_.max_size() - input_.size());
  if (room == 0) co_return Read::full;
  const auto transfer = co_await transport_->read_some(input_.prepare(room));
  input_.commit(transfer.bytes);
  if (!transfer.error) co_return Read::bytes;
  if (deadline_->expired() && !closed_) co_return Read::timed_out;
  close();
  co_return Read::gone;
}

asio::awaitable<void> Connection::watch() {
  const auto cancelled = co_await asio::this_coro::cancellation_state;
  while (!closed_) {
    const auto room = std::min(kIdleInputBytes, input_.max_size() - input_.size());
    if (room == 0) {
      co_await transport_->failure();
      break;
    }
    const auto transfer = co_await transport_->read_some(input_.prepare(room));
    input_.commit(transfer.bytes);
    if (!transfer.error) continue;
    input_ended_ = transfer.error != asio::error::operation_aborted;
    break;
  }
  if (cancelled.cancelled() == asio::cancellation_type::none) close();
}

asio::awaitable<bool> Connection::write(std::span<const asio::const_buffer> buffers,
                                        std::chrono::milliseconds timeout) {
  // Cancelling the caller must not stop a message between two slices either.
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  std::size_t sent = 0;
  while (!closed_) {
    std::array<asio::const_buffer, 3> slice;
    const auto used = take_slice(buffers, sent, limits_->write_slice_bytes, slice);
    if (used == 0) break;
    deadline_->set(timeout);
    const auto transfer = co_await transport_->write(std::span(slice).first(used));
    sent += transfer.bytes;
    if (transfer.error || deadline_->expired()) close();
  }
  deadline_->clear();
  co_await asio::this_coro::throw_if_cancelled(throws);
  co_return !closed_;
}

asio::awaitable<void> Connection::finish(bool unread) {
  if (closed_) co_return;
  deadline_->set(limits_->linger_timeout);
  if (unread || secure()) co_await transport_->shutdown_send();
  std::size_t dropped = 0;
  while (unread && dropped < limits_->linger_bytes_max) {
    dropped += input_.size();
    input_.consume(input_.size());
    const Read more = co_await read(limits_->linger_bytes_max);
    if (more != Read::bytes) break;
  }
  close();
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  deadline_->stop();
  transport_->close();
}

}  // namespace diffused::http
