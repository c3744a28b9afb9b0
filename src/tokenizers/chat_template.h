// How a chat model is told a prompt. Folders tell it as a Jinja template; what pipelines ask of one is a
// single message of a user and the beginning of the answer, which is written here as a function.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace diffused::tokenizers {

// What a template of the ChatML kind leaves open. Values; any thread.
struct ChatTemplate {
  // Whether the answer of a model that is told not to think begins with an empty thought, as Qwen3's does.
  bool empty_thought = false;

  // `prompt` as the user's message and the beginning of the answer, as text that a tokenizer cuts at its
  // special tokens. Those that the prompt itself contains count as such, as in Diffusers.
  std::string text(std::string_view prompt, bool thinking) const;
  // What stands before the prompt in it, and behind.
  std::string_view before() const;
  std::string_view after(bool thinking) const;
};

// Reads chat_template.jinja, or "chat_template" of tokenizer_config.json, in a tokenizer's folder. Errors,
// naming the file: not_found without either, unsupported for a template that is not of the ChatML kind or
// that adds a system's message of its own.
Result<ChatTemplate> read_chat_template(const std::filesystem::path& folder);

}  // namespace diffused::tokenizers
