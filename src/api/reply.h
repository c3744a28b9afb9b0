// What every endpoint needs to answer: how a job is submitted for a request, and how an error is sent.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "api/api.h"
#include "http/exchange.h"
#include "job/dispatcher.h"

namespace diffused::api {

// How a job is submitted for this request: whose it is and how long it may take. Errors: a malformed
// X-Request-Timeout header.
Result<SubmitOptions> submit_options(const Api& api, const http::Request& request);

// Answers with the error.
asio::awaitable<void> send_error(http::Exchange& exchange, Error error);

}  // namespace diffused::api
