// A set of strings, each with a number, to be searched for all that a text begins with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace diffused::tokenizers {

// Immutable; const methods from any thread.
class Trie {
 public:
  Trie() : Trie(std::vector<std::pair<std::string, int>>{}) {}
  // Of equal strings the last one counts; empty strings are left out. Values are not negative.
  explicit Trie(std::vector<std::pair<std::string, int>> entries);

  // Calls visit(length_bytes, value) for each entry that `text` begins with, the shortest first.
  template <typename Visit>
  void visit_prefixes(std::string_view text, Visit visit) const {
    std::uint32_t node = 0;
    for (std::size_t length = 0; length < text.size();) {
      node = child(node, static_cast<unsigned char>(text[length]));
      if (node == kNone) return;
      ++length;
      if (values_[node] >= 0) visit(length, values_[node]);
    }
  }

 private:
  static constexpr std::uint32_t kNone = 0;  // the root is nobody's child

  std::uint32_t child(std::uint32_t node, unsigned char label) const {
    const auto begin = labels_.begin() + first_children_[node];
    const auto end = labels_.begin() + first_children_[node + 1];
    const auto found = std::lower_bound(begin, end, label);
    return found == end || *found != label ? kNone : static_cast<std::uint32_t>(found - labels_.begin());
  }

  // Nodes in breadth-first order, so that the children of a node are neighbours: node i's are
  // first_children_[i] up to but not including first_children_[i + 1], with ascending labels.
  std::vector<unsigned char> labels_;
  std::vector<int> values_;
  std::vector<std::uint32_t> first_children_;
};

}  // namespace diffused::tokenizers
