// Asynchronous image requests: kept first, made later.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "api/openai/image_request.h"
#include "http/exchange.h"
#include "jobstore/job_store.h"

namespace diffused::api {

// Whether the client asks for a job instead of pictures: "background_job": true, or Prefer: respond-async on
// a request that is not to be streamed.
bool wants_background(const http::Request& http_request, const ImageRequest& request);

// Writes the request down as a job, or finds the one that is there under the same Idempotency-Key; durable
// then. Errors: those of the request, overloaded, unavailable, conflict. Precondition: Api::background.
asio::awaitable<Result<jobstore::Enqueued>> keep_job(const Api& api, const http::Request& http_request,
                                                     ImageRequest request);

// Does the same and answers 202 with the job object once that is durable; 200 when the
// job was there already, under the same Idempotency-Key. Every failure is answered too.
asio::awaitable<void> accept_job(const Api& api, http::Exchange& exchange, ImageJob job);

}  // namespace diffused::api
