#include "api/sdapi/prompt_tags.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

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

Result<LoraChoice> read_tag(std::string_view rest) {
  const std::size_t colon = rest.find(':');
  LoraChoice lora{std::string(rest.substr(0, colon)), 1};
  if (lora.name.empty() || lora.name.size() > kLoraNameBytesMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a <lora:NAME:WEIGHT> in the prompt must have a name of 1 to {} bytes",
                            kLoraNameBytesMax),
                "prompt");
  if (colon == std::string_view::npos) return lora;
  const std::string_view digits = rest.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), lora.weight);
  const bool number = error == std::errc() && end == digits.data() + digits.size();
  if (!number || !(std::abs(lora.weight) <= kLoraWeightMax))  // so that NaN fails
    return fail(ErrorCode::invalid_argument,
                fmt::format("the weight of <lora:{}:…> in the prompt must be a number from {} to {}",
                            lora.name, -kLoraWeightMax, kLoraWeightMax),
                "prompt");
  return lora;
}

}  // namespace

Result<TaggedPrompt> take_tags(std::string_view prompt) {
  TaggedPrompt taken;
  for (Tag tag = next_tag(prompt, taken.text); tag.length() > 0; tag = next_tag(prompt, taken.text)) {
    if (tag.kind == "hypernet") continue;
    TRY(LoraChoice lora, read_tag(tag.rest));
    taken.loras.push_back(std::move(lora));
  }
  return taken;
}

std::string without_tags(std::string_view prompt) {
  std::string text;
  while (next_tag(prompt, text).length() > 0) continue;
  return text;
}

}  // namespace diffused::api
