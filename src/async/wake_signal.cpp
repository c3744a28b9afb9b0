#include "async/wake_signal.h"

#include <boost/asio/error.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace diffused {

namespace asio = boost::asio;
using boost::system::error_code;

WakeSignal::WakeSignal(asio::any_io_executor executor)
    : channel_(std::make_shared<Channel>(executor, 1)), timer_(executor) {}

void WakeSignal::notify() { channel_->try_send(error_code()); }

asio::awaitable<void> WakeSignal::wait(std::chrono::milliseconds longest) {
  timer_.expires_after(longest);
  timer_.async_wait([channel = channel_](error_code error) {
    if (!error) channel->try_send(error_code());
  });
  const auto [error] = co_await channel_->async_receive(asio::experimental::as_tuple(asio::use_awaitable));
  timer_.cancel();
  if (error) throw boost::system::system_error(asio::error::operation_aborted);
}

}  // namespace diffused
