// The rules that decide where a request ends and whether two readers could disagree about it. Stricter than
// the parser: what RFC 9112 leaves open is refused. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/limits.h"
#include "http/refusal.h"

namespace diffused::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The value of the first header of that lower-case name, or an empty view.
std::string_view find_header(const Headers& headers, std::string_view name);

// A request's header as it stood on the wire; names in lower case.
struct RequestHead {
  std::string method;
  std::string target;
  int version = 11;        // 10 or 11
  bool keep_alive = true;  // what the client wants, from version and Connection
  Headers headers;
};

// How the body arrives. Neither length nor chunked: there is none.
struct Framing {
  std::uint64_t content_length = 0;
  bool chunked = false;
  bool expects_continue = false;  // Expect: 100-continue
  bool has_body() const { return chunked || content_length > 0; }
};

// Exactly one Host in HTTP/1.1; no second header that decides who asks (Origin, Authorization, Content-Type);
// Transfer-Encoding only as "chunked", only in 1.1 and never beside Content-Length; one Content-Length of
// digits; no CONNECT or TRACE, no asterisk target; no Content-Encoding; Expect only as 100-continue; bounded
// number of fields. Errors: 400, 414, 415, 417, 431.
Checked<Framing> check_framing(const RequestHead& head, const Limits& limits);

}  // namespace diffused::http
