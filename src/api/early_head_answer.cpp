#include "api/early_head_answer.h"

namespace diffused::api {

namespace asio = boost::asio;

EarlyHeadAnswer::EarlyHeadAnswer(http::Exchange& exchange, const Clock& clock, std::chrono::seconds patience)
    : exchange_(exchange),
      clock_(clock),
      early_(patience.count() > 0 ? clock.now() + patience : SteadyTime::max()) {}

asio::awaitable<void> EarlyHeadAnswer::still_working() {
  if (clock_.now() < early_) co_return;
  if (!stream_) {
    http::Response head;
    stream_ = co_await exchange_.begin(std::move(head));
  }
  co_await stream_->bytes(" ");
}

asio::awaitable<void> EarlyHeadAnswer::send(http::Response response) {
  if (stream_)
    co_await stream_->bytes(*response.body);
  else
    co_await exchange_.send(std::move(response));
}

}  // namespace diffused::api
