// Errors as clients see them: {"error":{"message","type","param","code"}} and a status that decides whether
// they retry.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/exchange.h"

namespace diffused::api {

// The status for an error. Never fails.
int status_of(const Error& error);

// The statuses in use, in order, with the words that "code" may hold: "model_not_found, not_found".
struct ErrorStatus {
  int status;
  std::string codes;
};
std::vector<ErrorStatus> error_statuses();

// The word for "code": the error's own, or the table's.
std::string_view word_of(const Error& error);
// Whether the same request may be accepted later: it is the server that lacks something.
bool is_for_now(const Error& error);

// {"message","type","param","code"} for an error that is answered with `status`.
boost::json::object error_object(const Error& error, int status);

// The error that an error_object tells of, as far as clients see it.
Error read_error(const boost::json::object& object);

// The whole answer, with Retry-After or x-should-retry where the status alone would mislead a client.
http::Response error_response(const Error& error);
http::Response error_response(const Error& error, int status);

// The same in the dialect of the path: how everything is answered that fails, in an endpoint or before one.
http::Response respond_to_error(const Error& error, int status, std::string_view path);

// An error after which the client is asked to come back in some seconds.
tl::unexpected<Error> later(ErrorCode code, std::string message, std::string reason);

// The error with `field` named, when it names none yet.
tl::unexpected<Error> about(Error error, std::string_view field);

}  // namespace diffused::api
