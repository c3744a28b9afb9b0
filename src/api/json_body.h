// From a request's bytes to a JSON object that is safe to read. Bodies above kQuickBytes (offload.h) are not
// read on an io thread.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

#include "base/result.h"
#include "http/exchange.h"

namespace diffused::api {

// What a body may become: a value of two bytes takes twenty times as many in memory. Depth: 32.
constexpr std::size_t kJsonValuesMax = 10'000;
constexpr std::size_t kJsonKeyBytesMax = 1 << 10;

// Whether a Content-Type header says `media_type`, whatever its parameters and case.
bool is_content_type(std::string_view header, std::string_view media_type);

// The object in a JSON body; a byte order mark before it is passed over. Any thread. Errors:
// invalid_argument, with reason
//   "unsupported_content_type"  not application/json. A missing type is refused too: a page of another site
//   can make a
//                               browser send such a request without asking first, but not one of
//                               application/json
//   "invalid_json"              malformed, nested deeper than 32, invalid UTF-8, lone surrogates, no object
//   "duplicate_key"             an object names a key twice, which two readers would understand differently
// and payload_too_large, "json_too_large": more values or longer keys than those above.
Result<boost::json::object> json_body(const http::Request& request);

// The same for a text that is known to be meant as JSON.
Result<boost::json::object> parse_object(std::string_view text);

}  // namespace diffused::api
