// By what a request that is sent again is known.
#pragma once

#include <string>

#include "http/exchange.h"

namespace diffused::api {

// Equal for equal requests under one Idempotency-Key; empty for a request without one. Of a form it is the
// parts that count: its boundary is another one each time. Takes as long as the body is large.
std::string fingerprint_of(const http::Request& request);

}  // namespace diffused::api
