#include "tokenizers/byte_pair.h"

#include <fmt/format.h>

#include <queue>

#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

constexpr int kNone = -1;

// Bytes that GPT-2's table spells as themselves (Latin-1); the others get the code points from 256 on, in
// order.
bool is_printable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

std::array<std::string, 256> byte_spellings() {
  std::array<std::string, 256> spellings;
  char32_t next_code_point = 256;
  for (int byte = 0; byte < 256; ++byte) {
    append_code_point(spellings[static_cast<std::size_t>(byte)],
                      is_printable(byte) ? static_cast<char32_t>(byte) : next_code_point++);
  }
  return spellings;
}

std::uint64_t pair_key(int left, int right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

// A symbol of the word being encoded: a node of a doubly linked list kept in a vector. A symbol that was
// merged into its left neighbour has id kNone.
struct BytePair::Symbol {
  int id;
  int previous;
  int next;
};

// "The symbols at `position` and behind it could become `id`."
struct BytePair::Candidate {
  int rank;
  int position;
  int id;
  // std::priority_queue serves the greatest: the lowest rank, and of those the leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

Result<BytePair> BytePair::create(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                                  std::optional<int> unknown_id, std::string_view end_of_word) {
  BytePair model;
  const auto id_of = [&](const std::string& symbol, int otherwise) {
    const auto found = vocabulary.find(symbol);
    return found == vocabulary.end() ? otherwise : found->second;
  };
  const auto spellings = byte_spellings();
  for (std::size_t byte = 0; byte < spellings.size(); ++byte) {
    model.inner_ids_[byte] = id_of(spellings[byte], unknown_id.value_or(kNone));
    model.last_ids_[byte] = id_of(spellings[byte] + std::string(end_of_word), unknown_id.value_or(kNone));
  }
  model.merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int left_id = id_of(left, kNone);
    const int right_id = id_of(right, kNone);
    const int merged_id = id_of(left + right, kNone);
    if (left_id == kNone || right_id == kNone || merged_id == kNone) {
      return fail(ErrorCode::data_loss,
                  fmt::format("merge {} (\"{}\" and \"{}\") is of symbols that the vocabulary lacks",
                              rank + 1, left, right));
    }
    model.merges_.insert_or_assign(pair_key(left_id, right_id), Merged{static_cast<int>(rank), merged_id});
  }
  return model;
}

const BytePair::Merged* BytePair::find_merge(int left, int right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePair::append_ids(std::string_view word, std::vector<int>& ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    const int id = i + 1 == word.size() ? last_ids_[byte] : inner_ids_[byte];
    if (id == kNone) continue;
    const int place = static_cast<int>(symbols.size());
    symbols.push_back({id, place - 1, place + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;
  const int length = static_cast<int>(symbols.size());
  const auto at = [&](int position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };

  std::priority_queue<Candidate> candidates;
  const auto propose = [&](int left, int right) {
    if (left == kNone || right == kNone) return;
    if (const Merged* merged = find_merge(at(left).id, at(right).id))
      candidates.push({merged->rank, left, merged->id});
  };
  for (int i = 0; i + 1 < length; ++i) propose(i, i + 1);

  while (!candidates.empty()) {
    const Candidate candidate = candidates.top();
    candidates.pop();
    Symbol& left = at(candidate.position);
    if (left.id == kNone || left.next == kNone) continue;
    const int right_position = left.next;
    const Merged* merged = find_merge(left.id, at(right_position).id);
    if (merged == nullptr || merged->id != candidate.id) continue;  // the symbols have changed since

    left.id = merged->id;
    left.next = at(right_position).next;
    at(right_position).id = kNone;
    if (left.next != kNone) at(left.next).previous = candidate.position;
    propose(left.previous, candidate.position);
    propose(candidate.position, left.next);
  }
  for (int position = 0; position != kNone; position = at(position).next) ids.push_back(at(position).id);
}

}  // namespace diffused::tokenizers
