#include "tokenizers/chat_template.h"

#include <fmt/format.h>

#include "tokenizers/folder.h"

namespace diffused::tokenizers {
namespace {

constexpr const char* kTemplateFile = "chat_template.jinja";

Result<std::string> read_template(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::exists(path / kTemplateFile, error)) return read_file(path / kTemplateFile);
  TRY(const Folder folder, read_folder(path));
  const json::value* text = folder.config.if_contains("chat_template");
  if (text == nullptr || !text->is_string())
    return bad_file(ErrorCode::not_found, path, fmt::format("holds no chat template ({})", kTemplateFile));
  return std::string(text->get_string());
}

}  // namespace

std::string ChatTemplate::text(std::string_view prompt, bool thinking) const {
  return std::string(before()).append(prompt).append(after(thinking));
}

std::string_view ChatTemplate::before() const { return "<|im_start|>user\n"; }

std::string_view ChatTemplate::after(bool thinking) const {
  return empty_thought && !thinking ? "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
                                    : "<|im_end|>\n<|im_start|>assistant\n";
}

Result<ChatTemplate> read_chat_template(const std::filesystem::path& folder) {
  TRY(const std::string text, read_template(folder));
  const auto has = [&](std::string_view part) { return text.find(part) != text.npos; };
  // Qwen2's own templates say who they are when nobody else does.
  if (!has("<|im_start|>") || !has("<|im_end|>") || !has("add_generation_prompt") || has("You are ")) {
    return bad_file(ErrorCode::unsupported, folder,
                    "the chat template is not one of Qwen3's, of a user's message alone");
  }
  return ChatTemplate{.empty_thought = has("enable_thinking")};
}

}  // namespace diffused::tokenizers
