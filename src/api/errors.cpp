#include "api/errors.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/json_text.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

// The words that errors bring with them, for those who read the description.
constexpr std::pair<int, std::string_view> kReasons[] = {
    {400, "missing_required_parameter"},
    {400, "unknown_parameter"},
    {400, "invalid_type"},
    {400, "invalid_json"},
    {400, "duplicate_key"},
    {400, "invalid_base64"},
    {400, "invalid_multipart"},
    {400, "invalid_image_file"},
    {400, "image_too_large"},
    {400, "request_too_costly"},
    {413, "json_too_large"},
    {429, "memory_share"},
    {403, "host_not_allowed"},
    {403, "origin_not_allowed"},
    {404, "model_not_found"},
    {415, "unsupported_content_type"},
    {415, "unsupported_content_encoding"},
    {503, "model_loading"},
    {503, "model_away"},
    {503, "draining"},
    {503, "memory_full"},
    {503, "storage_failed"},
    {507, "storage_full"},
};

constexpr std::chrono::milliseconds kDiskRetryAfter{5'000};

}  // namespace

std::vector<ErrorStatus> error_statuses() {
  std::map<int, std::string> codes;
  const auto add = [&codes](int status, std::string_view code) {
    std::string& text = codes[status];
    if (!text.empty()) text += ", ";
    text += code;
  };
  for (const ErrorWords& row : error_table()) add(row.status, row.reason);
  for (const auto& [status, reason] : kReasons) add(status, reason);
  std::vector<ErrorStatus> statuses;
  for (auto& [status, text] : codes) statuses.push_back({status, std::move(text)});
  return statuses;
}

http::Response error_response(const Error& error) { return error_response(error, status_of(error)); }

http::Response error_response(const Error& error, int status) {
  http::Response response;
  response.status = status;
  const json::object body{{"error", error_object(error, status)}};
  response.body = std::make_shared<const std::string>(json_text(body));
  const bool disk_full = error.reason == "storage_full";  // which may pass, whichever store says so
  if (error.retry_after || disk_full) {
    // Clients obey one to sixty seconds and take their own counsel outside of it.
    const auto ms =
        std::clamp<std::int64_t>(error.retry_after.value_or(kDiskRetryAfter).count(), 1'000, 60'000);
    response.headers.emplace_back("Retry-After", std::to_string((ms + 999) / 1000));
    response.headers.emplace_back("retry-after-ms", std::to_string(ms));
  }
  if (words_of(error.code).final && (status >= 500 || status == 409))
    response.headers.emplace_back("x-should-retry", "false");
  return response;
}

http::Response respond_to_error(const Error& error, int status, std::string_view path) {
  http::Response response = error_response(error, status);
  // A1111's clients show "detail" to people.
  if (path.starts_with("/sdapi/")) {
    const json::object body{
        {"error", "HTTPException"}, {"detail", error.message}, {"body", ""}, {"errors", error.message}};
    response.body = std::make_shared<const std::string>(json_text(body));
  }
  return response;
}

}  // namespace diffused::api
