#include "api/openai/images_response.h"

#include <fmt/format.h>

#include <algorithm>

namespace diffused::api {
namespace {

constexpr int kPatchPixels = 16;  // two latent pixels of eight
constexpr int kBytesPerToken = 4;

int text_tokens(const std::string& text) {
  return static_cast<int>((text.size() + kBytesPerToken - 1) / kBytesPerToken);
}

}  // namespace

std::string picture_url(const ApiOptions& options, const http::Request& request,
                        const std::string& file_name) {
  if (!options.public_url.empty()) return fmt::format("{}/images/{}", options.public_url, file_name);
  const std::string_view host = request.header("host");
  return fmt::format("{}://{}/images/{}", request.tls ? "https" : "http", host.empty() ? "localhost" : host,
                     file_name);
}

json::object describe(const PictureRequest& request, const Picture& picture) {
  return {{"size", fmt::format("{}x{}", picture.width, picture.height)},
          {"quality", quality_of(request.quality_preset).name},
          {"background", "opaque"},
          {"output_format", request.codec->name}};
}

json::object usage(const PictureRequest& request, std::span<const Picture> pictures) {
  int output = 0;
  for (const Picture& picture : pictures)
    output += (picture.width / kPatchPixels) * (picture.height / kPatchPixels);
  const int input =
      text_tokens(request.generate.prompt) + text_tokens(request.generate.negative_prompt.value_or(""));
  return {{"input_tokens", input},
          {"output_tokens", output},
          {"total_tokens", input + output},
          {"input_tokens_details", json::object{{"text_tokens", input}, {"image_tokens", 0}}},
          {"output_tokens_details", json::object{{"text_tokens", 0}, {"image_tokens", output}}}};
}

json::object images_object(std::int64_t created, const PictureRequest& request,
                           std::span<const Picture> pictures, const Timings& job_timings) {
  json::object body{{"created", created}, {"model", request.generate.model}};
  for (auto& member : describe(request, pictures.front())) body[member.key()] = member.value();
  body["usage"] = usage(request, pictures);
  body["timings"] = write_timings(job_timings);
  if (!request.safety_identifier.empty()) body["safety_identifier"] = request.safety_identifier;
  return body;
}

std::vector<std::pair<std::string, std::string>> job_headers(const ApiOptions& options, const Ticket& ticket,
                                                             const std::string& model) {
  const std::size_t limit = options.queue_jobs_max;
  const double seconds = ticket.estimated_start_seconds();
  const auto minutes = static_cast<int>(seconds / 60);
  const std::string reset = minutes > 0 ? fmt::format("{}m{:.0f}s", minutes, seconds - minutes * 60)
                                        : fmt::format("{:.3g}s", seconds);
  return {{"openai-version", "2020-10-01"},
          {"x-ratelimit-limit-requests", std::to_string(limit)},
          {"x-ratelimit-remaining-requests", std::to_string(limit - std::min(limit, ticket.position() + 1))},
          {"x-ratelimit-reset-requests", reset},
          {"x-diffused-queue-position", std::to_string(ticket.position())},
          {"x-diffused-estimated-start-seconds", fmt::format("{:.3f}", seconds)},
          {"x-diffused-job", ticket.id()},
          {kModelHeader, model}};
}

}  // namespace diffused::api
