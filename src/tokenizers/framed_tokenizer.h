// What all tokenizers do around their model: cut out added tokens, truncate, put begin, end and padding.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/tokenizer.h"

namespace diffused::tokenizers {

// The part that differs. Immutable; const methods from any thread; texts are valid UTF-8.
class TextModel {
 public:
  virtual ~TextModel() = default;
  virtual std::string normalise(std::string_view text) const = 0;
  // Splits normalised text into words and appends their ids.
  virtual void append_ids(std::string_view normalised, std::vector<int>& ids) const = 0;
};

// Added tokens whose `normalized` flag is set are looked for after normalising, the others before.
std::unique_ptr<Tokenizer> make_framed_tokenizer(std::unique_ptr<const TextModel> model,
                                                 const std::vector<AddedToken>& added_tokens,
                                                 const Frame& frame);

}  // namespace diffused::tokenizers
