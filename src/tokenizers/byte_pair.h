// Byte-pair encoding of one word: with an end-of-word mark as CLIP has it, or without one as GPT-2.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"

namespace diffused::tokenizers {

using Vocabulary = std::unordered_map<std::string, int>;

// Immutable; const methods from any thread.
class BytePair {
 public:
  using Merge = std::pair<std::string, std::string>;

  // CLIP's mark, which the last symbol of a word carries.
  static constexpr std::string_view kEndOfWord = "</w>";

  // `vocabulary` spells bytes with GPT-2's printable characters; the last symbol of a word carries
  // `end_of_word`. Earlier merges come first. `unknown_id` stands for symbols that `vocabulary` lacks;
  // without one they are left out. data_loss: a merge of symbols, or into a symbol, that `vocabulary` lacks.
  static Result<BytePair> create(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                                 std::optional<int> unknown_id, std::string_view end_of_word = kEndOfWord);

  // Appends the ids of one word, taken byte by byte.
  void append_ids(std::string_view word, std::vector<int>& ids) const;

 private:
  struct Merged {
    int rank = 0;
    int id = 0;
  };
  struct Symbol;
  struct Candidate;

  BytePair() = default;
  const Merged* find_merge(int left, int right) const;

  std::array<int, 256> inner_ids_{};                  // of each byte inside a word
  std::array<int, 256> last_ids_{};                   // of each byte at the end of a word
  std::unordered_map<std::uint64_t, Merged> merges_;  // key: pair_key(left id, right id)
};

}  // namespace diffused::tokenizers
