#include "tokenizers/unigram.h"

#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

// How much less probable than the rarest piece an unknown character is (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

Trie trie_of(const std::vector<Piece>& pieces) {
  std::vector<std::pair<std::string, int>> entries;
  entries.reserve(pieces.size());
  for (const Piece& piece : pieces) entries.emplace_back(piece.first, static_cast<int>(entries.size()));
  return Trie(std::move(entries));
}

}  // namespace

Unigram::Unigram(const std::vector<Piece>& pieces, int unknown_id)
    : trie_(trie_of(pieces)), unknown_id_(unknown_id) {
  scores_.reserve(pieces.size());
  for (const Piece& piece : pieces) scores_.push_back(piece.second);
  if (!scores_.empty()) unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
}

void Unigram::append_ids(std::string_view word, std::vector<int>& ids) const {
  // The best way to spell the first `end` bytes of the word: its score and its last piece.
  struct Best {
    double score = 0;
    std::size_t begin = 0;
    int id = -1;
  };
  std::vector<Best> best(word.size() + 1);
  const auto offer = [&](std::size_t begin, std::size_t end, int id, double score) {
    score += best[begin].score;
    if (best[end].id < 0 || score > best[end].score) best[end] = {score, begin, id};
  };
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t next = begin;
    next_code_point(word, next);
    bool covered = false;
    trie_.visit_prefixes(word.substr(begin), [&](std::size_t length, int id) {
      offer(begin, begin + length, id, scores_[static_cast<std::size_t>(id)]);
      covered = covered || begin + length == next;
    });
    if (!covered) offer(begin, next, unknown_id_, unknown_score_);
    begin = next;
  }

  const auto ids_begin = static_cast<std::ptrdiff_t>(ids.size());
  bool after_unknown = false;
  for (std::size_t end = word.size(); end > 0; end = best[end].begin) {
    const bool unknown = best[end].id == unknown_id_;
    if (!unknown || !after_unknown) ids.push_back(best[end].id);
    after_unknown = unknown;
  }
  std::reverse(ids.begin() + ids_begin, ids.end());
}

}  // namespace diffused::tokenizers
