#include "api/json_body.h"

#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/ascii.h"

namespace diffused::api {
namespace {

namespace json = boost::json;
using boost::system::error_code;

// Editors of Windows write it before UTF-8; RFC 8259 lets a reader pass over it.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What stopped the reading, beside bad syntax.
enum class Fault { none, duplicate_key, too_many_values, long_key };

// Builds the value as Boost's own handler does, counts before it builds, and watches the keys.
struct Builder {
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  json::value_stack stack;
  std::vector<std::set<std::string, std::less<>>> keys;  // of the objects that are open
  std::string key;
  std::size_t values = 0;
  Fault fault = Fault::none;

  bool stop(Fault why, error_code& error) {
    fault = why;
    error = json::make_error_code(json::error::syntax);
    return false;
  }
  bool count(error_code& error) { return ++values <= kJsonValuesMax || stop(Fault::too_many_values, error); }
  bool add_to_key(json::string_view part, error_code& error) {
    if (key.size() + part.size() > kJsonKeyBytesMax) return stop(Fault::long_key, error);
    key.append(part.data(), part.size());
    return true;
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& error) {
    keys.emplace_back();
    return count(error);
  }
  bool on_object_end(std::size_t size, error_code&) {
    keys.pop_back();
    stack.push_object(size);
    return true;
  }
  bool on_array_begin(error_code& error) { return count(error); }
  bool on_array_end(std::size_t size, error_code&) {
    stack.push_array(size);
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, error_code& error) {
    stack.push_chars(part);
    return add_to_key(part, error);
  }
  bool on_key(json::string_view part, std::size_t, error_code& error) {
    stack.push_key(part);
    if (!add_to_key(part, error)) return false;
    if (!keys.back().insert(key).second) return stop(Fault::duplicate_key, error);
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, error_code&) {
    stack.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, error_code& error) {
    stack.push_string(part);
    return count(error);
  }
  bool on_number_part(json::string_view, error_code&) { return true; }
  bool on_int64(std::int64_t number, json::string_view, error_code& error) {
    stack.push_int64(number);
    return count(error);
  }
  bool on_uint64(std::uint64_t number, json::string_view, error_code& error) {
    stack.push_uint64(number);
    return count(error);
  }
  bool on_double(double number, json::string_view, error_code& error) {
    stack.push_double(number);
    return count(error);
  }
  bool on_bool(bool truth, error_code& error) {
    stack.push_bool(truth);
    return count(error);
  }
  bool on_null(error_code& error) {
    stack.push_null();
    return count(error);
  }
  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }
};

tl::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), {}, "invalid_json");
}

tl::unexpected<Error> too_large(std::string message) {
  return fail(ErrorCode::payload_too_large, std::move(message), {}, "json_too_large");
}

}  // namespace

bool is_content_type(std::string_view header, std::string_view media_type) {
  std::string_view type = header.substr(0, header.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  return iequals(type, media_type);
}

Result<json::object> json_body(const http::Request& request) {
  if (!is_content_type(request.header("content-type"), "application/json")) {
    return fail(ErrorCode::invalid_argument, "send the body as Content-Type: application/json", {},
                "unsupported_content_type");
  }
  return parse_object(request.body);
}

Result<json::object> parse_object(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  json::basic_parser<Builder> parser(json::parse_options{});
  parser.handler().stack.reset();
  error_code error;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  switch (parser.handler().fault) {
    case Fault::none:
      break;
    case Fault::duplicate_key: {
      const std::string& key = parser.handler().key;
      return fail(ErrorCode::invalid_argument, fmt::format("the key \"{}\" stands twice in one object", key),
                  key, "duplicate_key");
    }
    case Fault::too_many_values:
      return too_large(fmt::format("the JSON holds more than {} values", kJsonValuesMax));
    case Fault::long_key:
      return too_large(fmt::format("a key of the JSON has more than {} bytes", kJsonKeyBytesMax));
  }
  if (error || read < text.size())
    return invalid(fmt::format("the body is not valid JSON (near byte {})", read));
  const json::value value = parser.handler().stack.release();
  if (!value.is_object()) return invalid("the body must be a JSON object");
  return value.get_object();
}

}  // namespace diffused::api
