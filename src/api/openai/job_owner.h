// Whose jobs a request may see.
#pragma once

#include <optional>
#include <string>

#include "api/api.h"
#include "api/keys.h"
#include "http/exchange.h"

namespace diffused::api {

// With keys, a job belongs to its key's holder. Without them whoever knows its id, which cannot be guessed,
// may use it: a client's address may change while its job waits.
inline std::optional<std::string> job_owner(const Api& api, const http::Request& request) {
  if (!api.options.keys) return std::nullopt;
  return user_of(request);
}

}  // namespace diffused::api
