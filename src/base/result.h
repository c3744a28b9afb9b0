// START HERE for the room `base`: what every other room shares and nothing more: Result and Error, CHECK,
// Clock, ids, logging. No torch, no Asio, no JSON dialect.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace diffused {

// What the caller should do about a failure. api/errors.cpp maps each code to an HTTP status, in one table.
enum class ErrorCode {
  invalid_argument,   // the request is wrong and stays wrong: mend it
  not_found,          // no such model, job, picture, file
  unsupported,        // understood, but not something this model or machine can do
  unauthorized,       // no key, or a wrong one
  forbidden,          // the key or origin may not do this
  conflict,           // it contradicts what is there: another request under the same key, a job that goes on
  payload_too_large,  // more bytes, pixels or parts than the configured limit
  overloaded,         // the queue is full: come back after `retry_after`
  deadline,           // the time given for the request ran out
  cancelled,          // the client, an operator or a shutdown ended it
  out_of_memory,      // the device or the host has not enough memory for this work
  unavailable,        // starting, draining, or a part we depend on is away: come back later
  data_loss,          // a file or row is damaged or missing
  internal,           // a fault of ours
};

// A failure as a value. `message` is a sentence for a person; it never holds a library's own error text when
// it can reach a client. `field` names the offending request field, option or file, empty when there is none.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string field;
  // A stable machine-readable word such as "model_not_found" or "queue_full"; empty: derived from `code`.
  std::string reason;
  // For overloaded and unavailable: how long to wait before trying again.
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
};

// Either a value or an Error. Expected failures are values; exceptions are for libtorch and the allocator
// only.
template <typename T>
using Result = tl::expected<T, Error>;

// Makes the failing side of a Result: `return fail(ErrorCode::invalid_argument, "n must be 1 to 10", "n");`
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string field = {},
                                                std::string reason = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(field), std::move(reason)});
}

// Declares `variable` from a Result, or returns its error from the enclosing function:
//   TRY(const Header header, read_header(file));
#define TRY(variable, expression) TRY_NAMED(variable, expression, TRY_CONCAT(try_result_, __LINE__))
#define TRY_NAMED(variable, expression, result)                                     \
  auto result = (expression);                                                       \
  if (!result) return tl::unexpected<::diffused::Error>(std::move(result).error()); \
  variable = std::move(*result)
#define TRY_CONCAT(a, b) TRY_CONCAT_INNER(a, b)
#define TRY_CONCAT_INNER(a, b) a##b

// Returns the error of a Result<void> from the enclosing function, or goes on.
#define TRY_VOID(expression)                   \
  if (auto try_void = (expression); !try_void) \
  return tl::unexpected<::diffused::Error>(std::move(try_void).error())

}  // namespace diffused
