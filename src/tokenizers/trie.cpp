#include "tokenizers/trie.h"

namespace diffused::tokenizers {

Trie::Trie(std::vector<std::pair<std::string, int>> entries) {
  const auto by_text = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::stable_sort(entries.begin(), entries.end(), by_text);

  // The entries [begin, end) share their first `depth` bytes; each such range is one node.
  struct Range {
    std::size_t begin, end, depth;
  };
  std::vector<Range> nodes = {{0, entries.size(), 0}};
  labels_ = {0};
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    auto [begin, end, depth] = nodes[node];
    int value = -1;
    for (; begin < end && entries[begin].first.size() == depth; ++begin) value = entries[begin].second;
    values_.push_back(depth == 0 ? -1 : value);
    first_children_.push_back(static_cast<std::uint32_t>(nodes.size()));
    while (begin < end) {
      const char label = entries[begin].first[depth];
      std::size_t child_end = begin;
      while (child_end < end && entries[child_end].first[depth] == label) ++child_end;
      nodes.push_back({begin, child_end, depth + 1});
      labels_.push_back(static_cast<unsigned char>(label));
      begin = child_end;
    }
  }
  first_children_.push_back(static_cast<std::uint32_t>(nodes.size()));
}

}  // namespace diffused::tokenizers
