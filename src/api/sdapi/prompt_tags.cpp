#include "api/sdapi/prompt_tags.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "api/loras.h"

namespace diffused::api {
namespace {

constexpr std::array<std::string_view, 3> kKinds{"lora", "lyco", "hypernet"};

struct Tag {
  std::string_view kind;  // empty: there is no tag
  std::string_view rest;  // behind the colon
  std::size_t length() const { return kind.empty() ? 0 : kind.size() + rest.size() + 3; }
};

Tag tag_at(std::string_view text) {
  for (const std::string_view kind : kKinds) {
    if (!text.substr(1).starts_with(kind) || text.substr(1 + kind.size(), 1) != ":") continue;
    const std::size_t begin = kind.size() + 2;
    const std::size_t close = text.find('>', begin);
    if (close != std::string_view::npos) return {kind, text.substr(begin, close - begin)};
  }
  return {};
}

// Takes the next tag and the text before it; without a tag all of the text.
Tag next_tag(std::string_view& prompt, std::string& text) {
  while (!prompt.empty()) {
    const std::size_t open = prompt.find('<');
    text += prompt.substr(0, open);
    prompt.remove_prefix(std::min(open, prompt.size()));
    if (prompt.empty()) break;
    const Tag tag = tag_at(prompt);
    if (tag.length() == 0) text += '<';
    prompt.remove_prefix(std::max<std::size_t>(tag.length(), 1));
    if (tag.length() > 0) return tag;
  }
  return {};
}

std::string_view trimmed_part(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t\n"), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(" \t\n") + 1);
}

// As Python's float() reads it: blanks around it and a plus sign are no matter. None for what is no number,
// or more than a LoRA may weigh.
std::optional<double> read_tag_weight(std::string_view text) {
  std::string_view digits = trimmed_part(text);
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  double weight = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), weight);
  const bool number = error == std::errc() && end == digits.data() + digits.size();
  if (number && std::abs(weight) <= kLoraWeightMax) return weight;  // not NaN
  return std::nullopt;
}

// What stands between the colons of a tag.
struct TagArguments {
  std::vector<std::string_view> in_order;
  std::vector<std::pair<std::string_view, std::string_view>> named;
};

TagArguments split_tag(std::string_view rest) {
  TagArguments arguments;
  while (true) {
    const std::string_view part = rest.substr(0, rest.find(':'));
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos)
      arguments.in_order.push_back(part);
    else
      arguments.named.emplace_back(trimmed_part(part.substr(0, equals)), part.substr(equals + 1));
    if (part.size() == rest.size()) return arguments;
    rest.remove_prefix(part.size() + 1);
  }
}

// A tag that names no LoRA, or a weight that is none, is left out, as A1111 goes on without it.
void read_tag(std::string_view rest, TaggedPrompt& taken) {
  const TagArguments arguments = split_tag(rest);
  const auto& words = arguments.in_order;
  const std::string_view name = words.empty() ? std::string_view() : trimmed_part(words[0]);
  if (name.empty() || name.size() > kLoraNameBytesMax)
    return taken.ignored.push_back(
        fmt::format("a <lora:NAME:WEIGHT> without a name of 1 to {} bytes was left out", kLoraNameBytesMax));
  std::optional<double> text_weight = 1, weight;
  bool readable = true;
  const auto read = [&](std::string_view text, std::optional<double>& to) {
    to = read_tag_weight(text);
    readable = readable && to;
  };
  if (words.size() > 1) read(words[1], text_weight);
  if (words.size() > 2) read(words[2], weight);
  for (const auto& [key, value] : arguments.named) {
    if (key == "te") {
      read(value, text_weight);
    } else if (key == "unet") {
      read(value, weight);
    } else {
      taken.ignored.push_back(fmt::format("\"{}\" of <lora:{}> is not served", key, name));
    }
  }
  if (!readable)
    return taken.ignored.push_back(
        fmt::format("<lora:{}> was left out: its weight is no number from {} to {}", rest, -kLoraWeightMax,
                    kLoraWeightMax));
  if (words.size() > 3) taken.ignored.push_back(fmt::format("the rank of <lora:{}> is not served", name));
  LoraChoice lora{std::string(name), weight.value_or(*text_weight)};
  if (*text_weight != lora.weight) lora.text_weight = text_weight;
  taken.loras.push_back(std::move(lora));
}

}  // namespace

TaggedPrompt take_tags(std::string_view prompt) {
  TaggedPrompt taken;
  for (Tag tag = next_tag(prompt, taken.text); tag.length() > 0; tag = next_tag(prompt, taken.text)) {
    if (tag.kind == "hypernet") {
      taken.ignored.push_back(fmt::format("<hypernet:{}> is not served", tag.rest));
    } else {
      read_tag(tag.rest, taken);
    }
  }
  return taken;
}

std::string without_tags(std::string_view prompt) {
  std::string text;
  while (next_tag(prompt, text).length() > 0) continue;
  return text;
}

}  // namespace diffused::api
