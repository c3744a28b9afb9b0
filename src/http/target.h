// The request target, taken apart once; the router and every check afterwards see the same result. Pure; any
// thread.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "http/refusal.h"

namespace diffused::http {

struct Target {
  // Percent-decoded. A segment may hold '/' when it arrived as %2F; only a route's parameter can match such a
  // one.
  std::vector<std::string> segments;
  std::string path;  // "/" and the segments joined by "/"; slashes collapsed, none at the end
  std::map<std::string, std::string> query;  // percent-decoded, '+' as a space; the last of equal keys
  std::string authority;                     // of an absolute-form target ("http://host/…"), else empty
};

// Refuses with 400: anything but origin-form and absolute-form (http, https); malformed percent-encoding;
// decoded control bytes, backslashes, bytes that are not UTF-8; ".." as a segment, also between decoded
// slashes.
Checked<Target> parse_target(std::string_view target);

}  // namespace diffused::http
