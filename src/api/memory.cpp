#include "api/memory.h"

namespace diffused::api {
Result<void> hold(const http::Request& request, std::uint64_t more, std::string_view what) {
  return request.memory ? request.memory->add(more, what) : Result<void>();
}

void hold_only(const http::Request& request, std::uint64_t bytes) {
  if (request.memory) request.memory->keep(bytes);
}

DecodeLimits counted(DecodeLimits limits, const http::Request& request) {
  limits.reserve = [&request](std::uint64_t bytes) { return hold(request, bytes, "the picture's pixels"); };
  return limits;
}

std::shared_ptr<const Image> held_picture(Image image, const http::Request& request) {
  struct Held {
    Image image;
    std::shared_ptr<MemoryCharge> memory;
  };
  const auto held = std::make_shared<const Held>(Held{std::move(image), request.memory});
  return {held, &held->image};
}

std::uint64_t result_bytes(const ImageRequest& request, const PipelineInfo& model) {
  const bool as_text = request.stream || request.response_format == ResponseFormat::b64_json;
  return result_bytes(request.generate, model, as_text);
}

}  // namespace diffused::api
