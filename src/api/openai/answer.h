// From a complete image request to the answer, shared by generations, edits and variations.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string_view>

#include "api/openai/image_request.h"
#include "api/reply.h"
#include "http/exchange.h"

namespace diffused::api {

// Runs the job and answers the exchange: JSON, raw bytes when Accept asks for an image and there is one, or a
// stream whose events are named after `event_prefix` ("image_generation"). Every failure is answered too.
asio::awaitable<void> answer_images(const Api& api, http::Exchange& exchange, ImageJob job,
                                    std::string_view event_prefix);

}  // namespace diffused::api
