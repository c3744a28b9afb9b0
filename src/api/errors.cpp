#include "api/errors.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/json_text.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

struct Row {
  ErrorCode code;
  int status;
  std::string_view type;
  std::string_view reason;  // the word in "code" unless the error brings its own
  bool final;               // clients retry this status by themselves, but the same request would fail again
};

// THE TABLE. Statuses 408, 409, 429 and from 500 on are retried by the official clients: a mistake of the
// client's is never among them.
constexpr std::array kRows{
    Row{ErrorCode::invalid_argument, 400, "invalid_request_error", "invalid_value", false},
    Row{ErrorCode::not_found, 404, "invalid_request_error", "not_found", false},
    Row{ErrorCode::unsupported, 400, "invalid_request_error", "unsupported_value", false},
    Row{ErrorCode::unauthorized, 401, "invalid_request_error", "invalid_api_key", false},
    Row{ErrorCode::forbidden, 403, "invalid_request_error", "forbidden", false},
    Row{ErrorCode::conflict, 409, "invalid_request_error", "conflict", true},
    Row{ErrorCode::payload_too_large, 413, "invalid_request_error", "request_too_large", false},
    Row{ErrorCode::overloaded, 429, "rate_limit_error", "queue_full", false},
    Row{ErrorCode::deadline, 504, "server_error", "deadline_exceeded", true},
    Row{ErrorCode::cancelled, 503, "server_error", "cancelled", true},
    Row{ErrorCode::out_of_memory, 500, "server_error", "out_of_memory", true},
    Row{ErrorCode::unavailable, 503, "server_error", "unavailable", false},
    Row{ErrorCode::data_loss, 500, "server_error", "data_loss", true},
    Row{ErrorCode::internal, 500, "server_error", "internal_error", true},
};

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
constexpr std::chrono::milliseconds kLaterRetryAfter{5'000};

const Row& row_of(ErrorCode code) {
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.code == code; });
  CHECK(row != kRows.end());
  return *row;
}

// The word for a status the HTTP shell chose, where the error brings none.
std::string_view reason_of(int status) {
  switch (status) {
    case 404:
      return "not_found";
    case 405:
      return "method_not_allowed";
    case 408:
      return "request_timeout";
    case 413:
      return "request_too_large";
    case 414:
      return "target_too_long";
    case 415:
      return "unsupported_content_type";
    case 417:
      return "expectation_failed";
    case 431:
      return "header_too_large";
    default:
      return status < 500 ? "bad_request" : "internal_error";
  }
}

}  // namespace

int status_of(const Error& error) {
  // The two statuses that belong to a reason and not to a code.
  if (error.reason == "unsupported_content_type") return 415;
  if (error.reason == "storage_full") return 507;
  return row_of(error.code).status;
}

std::string_view word_of(const Error& error) {
  return error.reason.empty() ? row_of(error.code).reason : std::string_view(error.reason);
}

bool is_for_now(const Error& error) {
  return error.code == ErrorCode::overloaded || error.code == ErrorCode::unavailable;
}

std::vector<ErrorStatus> error_statuses() {
  std::map<int, std::string> codes;
  const auto add = [&codes](int status, std::string_view code) {
    std::string& text = codes[status];
    if (!text.empty()) text += ", ";
    text += code;
  };
  for (const Row& row : kRows) add(row.status, row.reason);
  for (const auto& [status, reason] : kReasons) add(status, reason);
  std::vector<ErrorStatus> statuses;
  for (auto& [status, text] : codes) statuses.push_back({status, std::move(text)});
  return statuses;
}

json::object error_object(const Error& error, int status) {
  const Row& row = row_of(error.code);
  const bool ours = status == status_of(error);
  const std::string_view type = ours            ? row.type
                                : status == 429 ? "rate_limit_error"
                                : status < 500  ? "invalid_request_error"
                                                : "server_error";
  std::string_view reason = error.reason;
  if (reason.empty()) reason = ours ? row.reason : reason_of(status);
  return {{"message", error.message},
          {"type", type},
          {"param", error.field.empty() ? json::value(nullptr) : json::value(error.field)},
          {"code", reason}};
}

Error read_error(const json::object& object) {
  const auto text = [&](const char* name) {
    const json::value* const value = object.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  Error error{ErrorCode::internal, text("message"), text("param"), text("code")};
  const std::string type = text("type");
  const auto by_reason = std::ranges::find(kRows, std::string_view(error.reason), &Row::reason);
  if (by_reason != kRows.end()) {
    error.code = by_reason->code;
    error.reason.clear();
  } else if (type == "invalid_request_error") {
    error.code = ErrorCode::invalid_argument;
  } else if (type == "rate_limit_error") {
    error.code = ErrorCode::overloaded;
  } else if (error.reason.starts_with("storage_")) {
    error.code = ErrorCode::unavailable;
  }
  return error;
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
  if (row_of(error.code).final && (status >= 500 || status == 409))
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

tl::unexpected<Error> later(ErrorCode code, std::string message, std::string reason) {
  Error error{code, std::move(message), {}, std::move(reason)};
  error.retry_after = kLaterRetryAfter;
  return tl::unexpected(std::move(error));
}

tl::unexpected<Error> about(Error error, std::string_view field) {
  if (error.field.empty()) error.field = field;
  return tl::unexpected(std::move(error));
}

}  // namespace diffused::api
