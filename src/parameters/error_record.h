// What an error means to whoever is told of it: THE TABLE of codes, statuses and words, and the JSON in which
// clients and jobs' rows have it. Pure; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused {

// One line of the table.
struct ErrorWords {
  ErrorCode code;
  int status;
  std::string_view type;
  std::string_view reason;  // the word in "code" unless the error brings its own
  bool final;               // clients retry this status by themselves, but the same request would fail again
};
std::span<const ErrorWords> error_table();
// The line of a code, which each has. Never fails.
const ErrorWords& words_of(ErrorCode code);

// The status for an error. Never fails.
int status_of(const Error& error);
// The word for "code": the error's own, or the table's.
std::string_view word_of(const Error& error);
// Returns true if the same request may be accepted later: it is the server that lacks something.
bool is_for_now(const Error& error);

// {"message","type","param","code"} for an error that is answered with `status`.
boost::json::object error_object(const Error& error, int status);
// The error that such an object tells of, as far as it does; one of write_failure tells its code exactly.
Error read_error(const boost::json::object& object);

// One line of JSON that a failed job leaves in its row, and back. Error: data_loss where it is no object.
std::string write_failure(const Error& error);
Result<Error> read_failure(const std::string& text);

// An error after which the client is asked to come back in some seconds.
tl::unexpected<Error> later(ErrorCode code, std::string message, std::string reason);

// The error with `field` named, when it names none yet.
tl::unexpected<Error> about(Error error, std::string_view field);

}  // namespace diffused
