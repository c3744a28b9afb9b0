// Tokens that are cut out of the text before any model sees it: `<|endoftext|>`, `<extra_id_0>`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/trie.h"

namespace diffused::tokenizers {

// One entry of `added_tokens` in tokenizer.json. The flags are those of the `tokenizers` library.
struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space behind it along
  bool normalized = false;   // looked for in the normalised text, by its own normalised form
  int id = 0;
  int ids = 1;  // how many, from `id` on, stand for it
};

// A part of a text: a token, or text between tokens.
struct Span {
  std::string_view text;
  int token_id = kText;
  static constexpr int kText = -1;
};

// Cuts text at added tokens. Immutable; const methods from any thread.
class AddedTokens {
 public:
  AddedTokens() = default;
  // The tokens to look for, by their `content`; of equal contents (once normalised) the last one counts.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // The parts of `text` (valid UTF-8) from left to right; where several tokens could start, the longest is
  // taken.
  std::vector<Span> cut(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  Trie trie_;  // content to index in tokens_
};

}  // namespace diffused::tokenizers
