// SentencePiece's "precompiled charsmap": character sequences and what to write instead (NFKC and more).
#pragma once

#include <unicode/brkiter.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace diffused::tokenizers {

// Immutable; const methods from any thread.
class Charsmap {
 public:
  // `blob` is little-endian: a 32-bit count of bytes, a double-array trie of that many bytes in 32-bit units
  // (the layout of Darts-clone), then the replacements, each ended by a zero byte. Trie values are offsets in
  // the replacements. data_loss: sizes that do not fit, replacements that are not UTF-8.
  static Result<Charsmap> parse(std::string_view blob);

  // Rewrites `text` (valid UTF-8) by grapheme cluster, as the `tokenizers` library does: a cluster of at most
  // five bytes that begins with an entry is replaced as a whole, its combining marks too; other clusters go
  // code point by code point. (SentencePiece itself keeps the marks.)
  std::string normalise(std::string_view text) const;

 private:
  Charsmap() = default;
  // What to write for the shortest entry that `text` begins with.
  std::optional<std::string_view> replacement(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
  std::unique_ptr<const icu::BreakIterator> clusters_;  // cloned for each text: iterating changes it
};

}  // namespace diffused::tokenizers
