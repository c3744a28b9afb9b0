#include "http/deadline.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace diffused::http {

Deadline::Deadline(boost::asio::any_io_executor executor, std::function<void()> on_expiry)
    : timer_(std::move(executor)), on_expiry_(std::move(on_expiry)) {}

void Deadline::set(std::chrono::milliseconds from_now) {
  expired_ = false;
  at_ = std::chrono::steady_clock::now() + from_now;
  if (at_ < armed_for_) wait(at_);
}

void Deadline::clear() {
  expired_ = false;
  at_ = Time::max();
}

void Deadline::stop() {
  clear();
  on_expiry_ = nullptr;
  timer_.cancel();
}

void Deadline::wait(Time until) {
  armed_for_ = until;
  timer_.expires_at(until);
  timer_.async_wait([weak = weak_from_this(), until](const boost::system::error_code& error) {
    const auto self = weak.lock();
    // A wait that was replaced may still arrive as a success: armed_for_ tells.
    if (!error && self && self->armed_for_ == until) self->woken();
  });
}

void Deadline::woken() {
  armed_for_ = Time::max();
  if (at_ == Time::max() || !on_expiry_) return;
  if (std::chrono::steady_clock::now() < at_) return wait(at_);
  at_ = Time::max();
  expired_ = true;
  on_expiry_();
}

boost::asio::awaitable<void> pause(boost::asio::any_io_executor executor, std::chrono::milliseconds time) {
  namespace asio = boost::asio;
  asio::steady_timer timer(executor, time);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace diffused::http
