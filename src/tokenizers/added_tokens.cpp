#include "tokenizers/added_tokens.h"

#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

Trie trie_of(const std::vector<AddedToken>& tokens) {
  std::vector<std::pair<std::string, int>> entries;
  for (const AddedToken& token : tokens)
    entries.emplace_back(token.content, static_cast<int>(entries.size()));
  return Trie(std::move(entries));
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word_part(previous_code_point(text, begin))) ||
         (end < text.size() && is_word_part(next_code_point(text, end)));
}

// Where the white space that ends at `end` begins, but not before `limit`.
std::size_t space_begin(std::string_view text, std::size_t limit, std::size_t end) {
  for (std::size_t before = end; before > limit && is_space(previous_code_point(text, before));) end = before;
  return end;
}

// Where the white space that begins at `begin` ends.
std::size_t space_end(std::string_view text, std::size_t begin) {
  for (std::size_t behind = begin; behind < text.size() && is_space(next_code_point(text, behind));)
    begin = behind;
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), trie_(trie_of(tokens_)) {}

std::vector<Span> AddedTokens::cut(std::string_view text) const {
  std::vector<Span> spans;
  std::size_t text_begin = 0;
  const auto add_text_until = [&](std::size_t end) {
    if (text_begin < end) spans.push_back({text.substr(text_begin, end - text_begin)});
  };
  for (std::size_t position = 0; position < text.size();) {
    std::size_t length = 0;
    int found = -1;
    trie_.visit_prefixes(text.substr(position), [&](std::size_t entry_length, int index) {
      length = entry_length;
      found = index;
    });
    if (found < 0) {
      ++position;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found)];
    std::size_t begin = position;
    std::size_t end = position + length;
    position = end;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = space_begin(text, text_begin, begin);
    if (token.rstrip) end = space_end(text, end);
    add_text_until(begin);
    spans.push_back({text.substr(begin, end - begin), token.id});
    text_begin = end;
  }
  add_text_until(text.size());
  return spans;
}

}  // namespace diffused::tokenizers
