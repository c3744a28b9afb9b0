// The shape `value; name=value; name="quoted value"` of Content-Type and Content-Disposition. Pure; any
// thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace diffused::http {

struct HeaderValue {
  std::string value;                              // in lower case
  std::map<std::string, std::string> parameters;  // names in lower case; the first of equal names
};

// None when the text does not have the shape.
std::optional<HeaderValue> parse_header_value(std::string_view text);

// The text without spaces and tabs at its ends.
std::string_view trim(std::string_view text);

// ASCII letters in lower case.
std::string lower(std::string_view text);

}  // namespace diffused::http
