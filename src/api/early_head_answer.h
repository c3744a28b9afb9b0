// An answer that may take longer than clients wait for its first byte.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>

#include "base/clock.h"
#include "http/exchange.h"

namespace diffused::api {

// While nothing is ready, still_working() sends the head of a JSON answer once `patience` has passed, and
// then spaces, which JSON allows before its value. Used by the coroutine that answers.
class EarlyHeadAnswer {
 public:
  // `patience` of zero: the head is never sent early.
  EarlyHeadAnswer(http::Exchange& exchange, const Clock& clock, std::chrono::seconds patience);

  boost::asio::awaitable<void> still_working();

  // Sends the answer; when its head has gone, only its body.
  boost::asio::awaitable<void> send(http::Response response);

 private:
  http::Exchange& exchange_;
  const Clock& clock_;
  const SteadyTime early_;
  std::shared_ptr<http::EventStream> stream_;
};

}  // namespace diffused::api
