// The texts themselves are held against transformers' by the parity suites of the models that use them.
#include "tokenizers/chat_template.h"

#include <gtest/gtest.h>

#include "support/files.h"

namespace diffused::tokenizers {
namespace {

constexpr const char* kChatMl = "<|im_start|>{{ role }}<|im_end|>{% if add_generation_prompt %}";

Result<ChatTemplate> read(const std::string& file, const std::string& content) {
  const TemporaryFolder folder;
  write_file(folder.path() / file, content);
  return read_chat_template(folder.path());
}

TEST(ChatTemplate, PutsAPromptAsAUserWould) {
  EXPECT_EQ(ChatTemplate{.empty_thought = true}.text("a cat", /*thinking=*/true),
            "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(ChatTemplate{.empty_thought = false}.text("a cat", /*thinking=*/false),
            "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(ChatTemplate{.empty_thought = true}.text(" {} ", /*thinking=*/false),
            "<|im_start|>user\n {} <|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
}

TEST(ChatTemplate, IsReadFromEitherFile) {
  const std::string thinks = kChatMl + std::string("{% if enable_thinking %}");
  EXPECT_TRUE(read("chat_template.jinja", thinks)->empty_thought);
  EXPECT_FALSE(read("chat_template.jinja", kChatMl)->empty_thought);
  EXPECT_TRUE(read("tokenizer_config.json", R"({"chat_template": ")" + thinks + R"("})")->empty_thought);
}

TEST(ChatTemplate, OfAnotherKindIsRefused) {
  EXPECT_EQ(read("chat_template.jinja", "[INST]{{ content }}[/INST]").error().code, ErrorCode::unsupported);
  EXPECT_EQ(read("chat_template.jinja", kChatMl + std::string("You are a poet.")).error().code,
            ErrorCode::unsupported);
  EXPECT_EQ(read("tokenizer_config.json", "{}").error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace diffused::tokenizers
