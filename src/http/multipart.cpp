#include "http/multipart.h"

#include <algorithm>

#include "http/header_parameters.h"

namespace diffused::http {
namespace {

// RFC 2046, 5.1.1.
constexpr std::size_t kBoundaryBytesMax = 70;

auto malformed(const char* message) {
  return fail(ErrorCode::invalid_argument, message, {}, "invalid_multipart");
}
auto too_large(const char* message) {
  return fail(ErrorCode::payload_too_large, message, {}, "multipart_too_large");
}

// Browsers write a quote and line breaks inside a name as %22, %0D and %0A, and leave a percent sign as it
// is.
std::string unescape_name(std::string_view text) {
  static constexpr std::pair<std::string_view, char> kEscapes[] = {
      {"%22", '"'}, {"%0D", '\r'}, {"%0A", '\n'}};
  std::string name;
  while (!text.empty()) {
    const auto* found = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                     [&](const auto& escape) { return text.starts_with(escape.first); });
    const bool escaped = found != std::end(kEscapes);
    name += escaped ? found->second : text.front();
    text.remove_prefix(escaped ? 3 : 1);
  }
  return name;
}

std::string parameter(const HeaderValue& header, const char* name) {
  const auto found = header.parameters.find(name);
  return found == header.parameters.end() ? std::string() : unescape_name(found->second);
}

Result<void> read_header(std::string_view line, Part& part) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return malformed("A line of a form part's header has no colon.");
  const std::string name = lower(trim(line.substr(0, colon)));
  const auto text = trim(line.substr(colon + 1));
  if (name == "content-disposition") {
    const auto value = parse_header_value(text);
    if (!value || value->value != "form-data") return malformed("A form part is not marked as form-data.");
    part.name = parameter(*value, "name");
    part.filename = parameter(*value, "filename");
  } else if (name == "content-type") {
    const auto value = parse_header_value(text);
    if (value) part.content_type = value->value;
  } else if (name == "content-transfer-encoding") {
    const std::string encoding = lower(text);
    if (encoding != "binary" && encoding != "8bit" && encoding != "7bit")
      return malformed("Form parts with a Content-Transfer-Encoding are not accepted.");
  }
  return {};
}

// The state of a walk over the body: what is left, and how parts are told apart.
class Walk {
 public:
  Walk(std::string_view body, std::string_view boundary, const MultipartLimits& limits)
      : rest_(body), delimiter_("\r\n--" + std::string(boundary)), limits_(limits) {}

  // Steps over the preamble and the first delimiter.
  Result<void> begin() {
    const auto first = std::string_view(delimiter_).substr(2);
    if (rest_.starts_with(first)) {
      rest_.remove_prefix(first.size());
      return {};
    }
    return take_data().transform([](std::string_view) {});
  }

  // Behind a delimiter: true at the next part's header, false at the end of the form.
  Result<bool> next_part() {
    if (rest_.starts_with("--")) return false;
    const auto end = rest_.find("\r\n");
    if (end == std::string_view::npos || !trim(rest_.substr(0, end)).empty())
      return malformed("A form boundary is not followed by a new line.");
    rest_.remove_prefix(end + 2);
    return true;
  }

  Result<Part> take_part() {
    Part part;
    std::size_t header_bytes = 0;
    while (true) {
      const auto end = rest_.find("\r\n");
      if (end == std::string_view::npos) return malformed("The form ends within a part's header.");
      const auto line = rest_.substr(0, end);
      rest_.remove_prefix(end + 2);
      header_bytes += line.size();
      if (header_bytes > limits_.part_header_bytes_max) return too_large("A form part's header is too long.");
      if (line.empty()) break;
      TRY_VOID(read_header(line, part));
    }
    if (part.name.empty()) return malformed("A form part has no name.");
    // An empty part may end at once: its data's line break is the header's.
    const auto empty = std::string_view(delimiter_).substr(2);
    if (rest_.starts_with(empty)) {
      rest_.remove_prefix(empty.size());
      return part;
    }
    TRY(part.data, take_data());
    return part;
  }

 private:
  // Everything before the next delimiter, which is stepped over.
  Result<std::string_view> take_data() {
    const auto end = rest_.find(delimiter_);
    if (end == std::string_view::npos) return malformed("The form's final boundary is missing.");
    const auto data = rest_.substr(0, end);
    rest_.remove_prefix(end + delimiter_.size());
    return data;
  }

  std::string_view rest_;
  std::string delimiter_;
  const MultipartLimits& limits_;
};

}  // namespace

bool is_multipart(std::string_view content_type) {
  const auto value = parse_header_value(content_type);
  return value && value->value == "multipart/form-data";
}

Result<std::vector<Part>> parse_multipart(std::string_view content_type, std::string_view body,
                                          const MultipartLimits& limits) {
  const auto type = parse_header_value(content_type);
  if (!type || type->value != "multipart/form-data") return malformed("The body is not multipart/form-data.");
  const auto boundary = type->parameters.find("boundary");
  if (boundary == type->parameters.end() || boundary->second.empty() ||
      boundary->second.size() > kBoundaryBytesMax)
    return malformed("The Content-Type names no usable boundary.");

  Walk walk(body, boundary->second, limits);
  TRY_VOID(walk.begin());
  std::vector<Part> parts;
  while (true) {
    TRY(const bool more, walk.next_part());
    if (!more) return parts;
    if (parts.size() == limits.parts_max) return too_large("The form has too many parts.");
    TRY(Part part, walk.take_part());
    parts.push_back(std::move(part));
  }
}

}  // namespace diffused::http
