// Which trace a request belongs to (W3C Trace Context): what came is handed on as it is.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "http/exchange.h"

namespace diffused::api {

// The request's traceparent, "00-…32 digits…-…16 digits…-01", or nothing where it has none of that form.
inline std::string trace_of(const http::Request& request) {
  constexpr std::string_view kForm = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
  const std::string_view text = request.header("traceparent");
  const auto fits = [](char c, char form) {
    return form == '-' ? c == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  };
  const bool good = std::ranges::equal(text, kForm, fits);
  return good ? std::string(text) : std::string();
}

}  // namespace diffused::api
