// A job as clients see it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <string>

#include "api/api.h"
#include "http/exchange.h"
#include "jobstore/job_store.h"

namespace diffused::api {

// Whether a result brings its pictures when the request asked for b64_json; in a list it has URLs.
enum class Pictures { included, linked };

// The job object, always with the same members: status is queued, in_progress, completed, failed or
// cancelled; progress 0 to 100; result is what the synchronous answer would have been.
asio::awaitable<json::object> describe_job(const Api& api, const http::Request& request,
                                           const jobstore::Job& job, Pictures pictures);

}  // namespace diffused::api
