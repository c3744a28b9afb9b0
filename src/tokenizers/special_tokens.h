// Which special tokens a folder declares, and their ids: in the order of precedence of `transformers` 5.23.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/folder.h"

namespace diffused::tokenizers {

// The contents of the tokens that play a part; empty for a part nobody plays.
struct TokenRoles {
  std::string begin = {};
  std::string end = {};
  std::string unknown = {};
  std::string padding = {};
};

struct SpecialTokens {
  // All tokens to cut out of a text, of different contents, still without ids.
  std::vector<AddedToken> added;
  TokenRoles roles;
};

// Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens of
// tokenizer.json. `defaults` are the contents of parts that no file names. `extras` are further tokens of the
// tokenizer's own kind; a list in tokenizer_config.json replaces them. data_loss: a token is neither a string
// nor an object with a string `content`.
Result<SpecialTokens> read_special_tokens(const Folder& folder, const TokenRoles& defaults,
                                          const std::vector<AddedToken>& extras);

// The tokens that special_tokens_map.json lists as `additional_special_tokens`.
Result<std::vector<AddedToken>> read_additional_tokens(const Folder& folder);

// Gives each token the id its content has in `vocabulary`, or the next free one from `vocabulary_size` on,
// and drops tokens without content. Returns the ids by content.
std::unordered_map<std::string, int> assign_ids(std::vector<AddedToken>& tokens,
                                                const std::unordered_map<std::string, int>& vocabulary,
                                                std::size_t vocabulary_size);

}  // namespace diffused::tokenizers
