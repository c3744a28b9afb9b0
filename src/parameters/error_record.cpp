#include "parameters/error_record.h"

#include <algorithm>
#include <boost/json/parse.hpp>

#include "base/check.h"
#include "base/json_text.h"

namespace diffused {
namespace {

namespace json = boost::json;

using Row = ErrorWords;

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

constexpr std::chrono::milliseconds kLaterRetryAfter{5'000};

// The member of a row in which the code is told exactly; clients do not see it.
constexpr const char* kKind = "kind";

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

std::span<const ErrorWords> error_table() { return kRows; }

const ErrorWords& words_of(ErrorCode code) {
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.code == code; });
  CHECK(row != kRows.end());
  return *row;
}

int status_of(const Error& error) {
  // The two statuses that belong to a reason and not to a code.
  if (error.reason == "unsupported_content_type") return 415;
  if (error.reason == "storage_full") return 507;
  return words_of(error.code).status;
}

std::string_view word_of(const Error& error) {
  return error.reason.empty() ? words_of(error.code).reason : std::string_view(error.reason);
}

bool is_for_now(const Error& error) {
  return error.code == ErrorCode::overloaded || error.code == ErrorCode::unavailable;
}

json::object error_object(const Error& error, int status) {
  const Row& row = words_of(error.code);
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
  const std::string kind = text(kKind);
  const auto by_kind = std::ranges::find(kRows, std::string_view(kind), &Row::reason);
  const std::string type = text("type");
  const auto by_reason = std::ranges::find(kRows, std::string_view(error.reason), &Row::reason);
  if (by_reason != kRows.end()) {
    error.code = by_reason->code;
    error.reason.clear();
  } else if (by_kind != kRows.end()) {
    error.code = by_kind->code;
  } else if (type == "invalid_request_error") {
    error.code = ErrorCode::invalid_argument;
  } else if (type == "rate_limit_error") {
    error.code = ErrorCode::overloaded;
  } else if (error.reason.starts_with("storage_")) {
    error.code = ErrorCode::unavailable;
  }
  return error;
}

std::string write_failure(const Error& error) {
  json::object object = error_object(error, status_of(error));
  object[kKind] = words_of(error.code).reason;
  return json_text(object);
}

Result<Error> read_failure(const std::string& text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return fail(ErrorCode::data_loss, "the job's row cannot be read");
  return read_error(value.get_object());
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

}  // namespace diffused
