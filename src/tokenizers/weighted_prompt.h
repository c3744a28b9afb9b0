// Prompts as AUTOMATIC1111's web UI reads them, where a request asks for that: weights of words, and texts
// longer than an encoder takes, in chunks. Pure; any thread.
//
//   (word)      1.1 times the weight; ((word)) 1.21 times
//   [word]      the weight divided by 1.1
//   (word:1.3)  1.3 times the weight
//   \( \) \[ \] \\  the characters themselves
//   BREAK       the rest begins a new chunk
//
// Brackets that are not closed go to the end, ones that were not opened are text. Not read: [from:to:when],
// [a|b] and AND; their words are plain text here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/tokenizer.h"

namespace diffused::tokenizers {

struct WeightedText {
  std::string text;
  double weight = 1;
  bool is_break = false;  // BREAK: no text
  bool operator==(const WeightedText&) const = default;
};

// The prompt's pieces in order; neighbours have different weights. Never fails.
std::vector<WeightedText> parse_weighted_prompt(std::string_view prompt);

// Token ids and the weight of each.
struct WeightedIds {
  std::vector<int> ids;
  std::vector<float> weights;
};

// The prompt cut into chunks of `length` ids each, with begin, end and padding of their own; at least one. A
// chunk that is full ends after its last comma when that is no more than 20 ids back.
std::vector<WeightedIds> weighted_chunks(const Tokenizer& tokenizer, std::string_view prompt, int length);

// The prompt in `length` ids, the rest cut off; BREAK does nothing.
WeightedIds weighted_text(const Tokenizer& tokenizer, std::string_view prompt, int length);

}  // namespace diffused::tokenizers
