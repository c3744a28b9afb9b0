// What a request's data is charged to (base/memory_budget.h), as the endpoints use it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "api/openai/image_request.h"
#include "http/exchange.h"
#include "image/codec.h"
#include "image/image.h"

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

// Bytes of a picture's pixels.
std::uint64_t bytes_of(const Image& image);
std::uint64_t bytes_of(const std::shared_ptr<const Image>& image);

// An estimate of what a job's finished pictures take at most, from their pixels to their files; `as_text`: to
// an answer that holds them.
std::uint64_t result_bytes(const GenerateRequest& request, const PipelineInfo& model, bool as_text);
// The same, by how the request is to be answered.
std::uint64_t result_bytes(const ImageRequest& request, const PipelineInfo& model);

}  // namespace diffused::api
