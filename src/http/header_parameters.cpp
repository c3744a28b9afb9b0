#include "http/header_parameters.h"

#include <algorithm>

namespace diffused::http {
namespace {

// Takes a quoted string off the front of `text`, which begins behind the opening quote. A backslash escapes
// only a quote or itself: some clients send Windows paths as they are.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    const bool escapes =
        text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\');
    value += text[escapes ? ++i : i];
  }
  return std::nullopt;
}

// Takes the text up to `end`, or all of it.
std::string_view take_until(std::string_view& text, std::string_view end) {
  const auto taken = text.substr(0, text.find_first_of(end));
  text.remove_prefix(taken.size());
  return trim(taken);
}

}  // namespace

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lowered;
}

std::optional<HeaderValue> parse_header_value(std::string_view text) {
  HeaderValue header;
  header.value = lower(take_until(text, ";"));
  if (header.value.empty()) return std::nullopt;
  while (!text.empty()) {
    text.remove_prefix(1);  // the semicolon
    text = trim(text);
    if (text.empty()) break;
    const std::string name = lower(take_until(text, "=;"));
    if (name.empty() || !text.starts_with('=')) return std::nullopt;
    text.remove_prefix(1);
    text = trim(text);
    std::optional<std::string> value;
    if (text.starts_with('"')) {
      text.remove_prefix(1);
      value = take_quoted(text);
      text = trim(text);
      if (!text.empty() && !text.starts_with(';')) return std::nullopt;
    } else {
      value = std::string(take_until(text, ";"));
    }
    if (!value) return std::nullopt;
    header.parameters.emplace(name, std::move(*value));
  }
  return header;
}

}  // namespace diffused::http
