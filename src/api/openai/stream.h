// Pictures as server-sent events, named and ordered as OpenAI's: partial images, then one completed event per
// picture.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string_view>

#include "api/openai/image_request.h"
#include "api/picture.h"
#include "async/submitted_job.h"
#include "http/exchange.h"

namespace diffused::api {

// Streams the job's pictures: PREFIX.partial_image and PREFIX.completed, comments while nothing happens,
// PREFIX.progress when the request asks for it, and "error" when the job fails. Beyond OpenAI's format each
// event has an image_index, because n may be more than one; partial_image_index starts again for each
// picture.
asio::awaitable<void> stream_images(const Api& api, http::Exchange& exchange, const ImageRequest& request,
                                    const Recipe& recipe, SubmittedJob& run, std::string_view event_prefix);

}  // namespace diffused::api
