// Errors as answers: {"error":{"message","type","param","code"}} and a status that decides whether clients
// retry. What the words are is in parameters/error_record.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/exchange.h"
#include "parameters/error_record.h"

namespace diffused::api {

// The statuses in use, in order, with the words that "code" may hold: "model_not_found, not_found".
struct ErrorStatus {
  int status;
  std::string codes;
};
std::vector<ErrorStatus> error_statuses();

// The whole answer, with Retry-After or x-should-retry where the status alone would mislead a client.
http::Response error_response(const Error& error);
http::Response error_response(const Error& error, int status);

// The same in the dialect of the path: how everything is answered that fails, in an endpoint or before one.
http::Response respond_to_error(const Error& error, int status, std::string_view path);

}  // namespace diffused::api
