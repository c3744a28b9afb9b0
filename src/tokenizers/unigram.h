// The unigram language model of SentencePiece: of all ways to spell a word in pieces, the most probable one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizers/trie.h"

namespace diffused::tokenizers {

// A piece and its log-probability; the index in the vocabulary is the id.
using Piece = std::pair<std::string, double>;

// Immutable; const methods from any thread.
class Unigram {
 public:
  Unigram(const std::vector<Piece>& pieces, int unknown_id);

  // Appends the ids of one word (valid UTF-8). Neighbouring characters that no piece covers become one
  // unknown id.
  void append_ids(std::string_view word, std::vector<int>& ids) const;

 private:
  Trie trie_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  int unknown_id_;
};

}  // namespace diffused::tokenizers
