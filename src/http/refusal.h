// What the shell answers itself, without a handler: the status and the reason.
#pragma once

#include <tl/expected.hpp>
#include <utility>

#include "base/result.h"

namespace diffused::http {

// `error.reason` is one of a fixed set of words: it is the client's error code and the label in the metrics.
struct Refusal {
  int status = 400;
  Error error;
};

template <typename T>
using Checked = tl::expected<T, Refusal>;

// `return refuse(413, ErrorCode::payload_too_large, "request_too_large", "The body is larger than 1 MiB.");`
[[nodiscard]] inline tl::unexpected<Refusal> refuse(int status, ErrorCode code, const char* reason,
                                                    std::string message) {
  return tl::unexpected<Refusal>(Refusal{status, Error{code, std::move(message), {}, reason}});
}

// The status for an error of MemoryCharge.
inline int memory_status(const Error& error) {
  return error.code == ErrorCode::payload_too_large ? 413 : error.code == ErrorCode::overloaded ? 429 : 503;
}

}  // namespace diffused::http
