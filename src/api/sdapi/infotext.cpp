#include "api/sdapi/infotext.h"

#include <algorithm>
#include <string>

namespace diffused::api {
namespace {

namespace json = boost::json;

constexpr std::string_view kNegative = "Negative prompt: ";

std::string_view trimmed_text(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \n\r"), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(" \n\r") + 1);
}

// Takes the next "value" up to a comma outside of quotes.
std::string_view take_value(std::string_view& rest) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size() && (quoted || rest[end] != ','); ++end)
    if (rest[end] == '"') quoted = !quoted;
  const std::string_view value = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return trimmed_text(value);
}

void add_setting(json::object& settings, std::string_view key, std::string_view value) {
  const std::size_t cross = value.find('x');
  const auto digits = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (cross != std::string_view::npos && digits(value.substr(0, cross)) && digits(value.substr(cross + 1))) {
    settings[std::string(key) + "-1"] = value.substr(0, cross);
    settings[std::string(key) + "-2"] = value.substr(cross + 1);
  } else {
    settings[json::string_view(key.data(), key.size())] = value;
  }
}

void read_settings(json::object& settings, std::string_view line) {
  while (!line.empty()) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = trimmed_text(line.substr(0, colon));
    line.remove_prefix(colon + 1);
    add_setting(settings, key, take_value(line));
  }
}

}  // namespace

json::object parse_infotext(std::string_view text) {
  json::object settings;
  const std::size_t last = text.rfind("\nSteps: ");
  const bool bare = text.starts_with("Steps: ");
  std::string_view prompts = bare ? std::string_view() : text.substr(0, last);
  const std::size_t negative = prompts.starts_with(kNegative) ? 0 : prompts.find("\nNegative prompt: ");
  const bool has_negative = negative != std::string_view::npos;
  std::string_view denied = has_negative ? trimmed_text(prompts.substr(negative)) : std::string_view();
  if (has_negative) denied.remove_prefix(std::min(kNegative.size(), denied.size()));
  settings["Prompt"] = trimmed_text(prompts.substr(0, negative));
  settings["Negative prompt"] = denied;
  if (bare || last != std::string_view::npos) read_settings(settings, text.substr(bare ? 0 : last + 1));
  return settings;
}

}  // namespace diffused::api
