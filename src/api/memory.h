// What a request's data is charged to (base/memory_budget.h), as the endpoints use it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "api/openai/image_request.h"
#include "http/exchange.h"
#include "image/codec.h"
#include "image/image.h"
#include "parameters/picture_file.h"

namespace diffused::api {

// Charges the request `more` bytes for `what`. Errors: as MemoryCharge::add.
Result<void> hold(const http::Request& request, std::uint64_t more, std::string_view what);

// Gives back all that the request is charged but `bytes`.
void hold_only(const http::Request& request, std::uint64_t bytes);

// The limits, under which the request is charged for a picture's pixels before there are any.
DecodeLimits counted(DecodeLimits limits, const http::Request& request);

// The picture, which keeps the request's charge for as long as anybody has it: the device may, for a moment
// longer than the client.
std::shared_ptr<const Image> held_picture(Image image, const http::Request& request);

// As result_bytes of parameters/picture_file.h, by how the request is to be answered.
std::uint64_t result_bytes(const ImageRequest& request, const PipelineInfo& model);

}  // namespace diffused::api
