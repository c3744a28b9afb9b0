// Requests that wait for their answer and carry an Idempotency-Key: sending one again does not make its
// pictures again.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "api/openai/image_request.h"
#include "http/exchange.h"

namespace diffused::api {

// Whether the request is to be answered that way: it has a key, and jobs are kept here.
bool is_keyed(const Api& api, const http::Request& request);

// Keeps the request as a background job, or finds the one that is there under its key, and answers with its
// pictures when it has ended. When the client goes the job goes on, and waits for it to ask again. `raw`: the
// answer is the first picture's bytes. Every failure is answered too.
asio::awaitable<void> answer_once(const Api& api, http::Exchange& exchange, ImageJob job, bool raw);

}  // namespace diffused::api
