#include "base/json_text.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <cmath>
#include <iterator>

#include "base/utf8.h"

namespace diffused {
namespace {

namespace json = boost::json;

void write(std::string& to, const json::value& value);

// A string with what JSON wants escaped, in quotes. Not every string is text: names of files, and what others
// wrote into theirs, may be any bytes.
void write_string(std::string& to, json::string_view text) {
  const std::string_view bytes(text.data(), text.size());
  to += is_utf8(bytes) ? json::serialize(text) : json::serialize(json::string(to_utf8(bytes)));
}

void write_object(std::string& to, const json::object& object) {
  to += '{';
  for (const auto& member : object) {
    if (to.back() != '{') to += ',';
    write_string(to, member.key());
    to += ':';
    write(to, member.value());
  }
  to += '}';
}

void write_array(std::string& to, const json::array& array) {
  to += '[';
  for (const json::value& item : array) {
    if (to.back() != '[') to += ',';
    write(to, item);
  }
  to += ']';
}

void write(std::string& to, const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      return write_object(to, value.get_object());
    case json::kind::array:
      return write_array(to, value.get_array());
    case json::kind::string:
      return write_string(to, value.get_string());
    case json::kind::double_:
      if (!std::isfinite(value.get_double())) break;
      fmt::format_to(std::back_inserter(to), "{}", value.get_double());
      return;
    default:
      to += json::serialize(value);
      return;
  }
  to += "null";
}

}  // namespace

std::string json_text(const json::value& value) {
  std::string text;
  write(text, value);
  return text;
}

}  // namespace diffused
