#include "tokenizers/charsmap.h"

#include <unicode/utext.h>

#include "base/check.h"
#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

constexpr std::size_t kUnitBytes = 4;
// Longer clusters are never looked up as a whole.
constexpr std::size_t kClusterBytesMax = 5;

std::uint32_t read_unit(std::string_view bytes) {
  std::uint32_t unit = 0;
  for (std::size_t i = 0; i < kUnitBytes; ++i) {
    unit |= std::uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return unit;
}

// The fields of a Darts-clone unit.
bool has_value(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset_of(std::uint32_t unit) { return unit >> 10 << ((unit & 1 << 9) >> 6); }

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// A UText over UTF-8 bytes, closed at the end of its life.
class ClusterText {
 public:
  explicit ClusterText(std::string_view text) {
    UErrorCode status = U_ZERO_ERROR;
    utext_openUTF8(&text_, text.data(), static_cast<std::int64_t>(text.size()), &status);
    CHECK_WITH(U_SUCCESS(status), u_errorName(status));
  }
  ~ClusterText() { utext_close(&text_); }
  ClusterText(const ClusterText&) = delete;
  ClusterText& operator=(const ClusterText&) = delete;
  UText* get() { return &text_; }

 private:
  UText text_ = UTEXT_INITIALIZER;
};

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view blob) {
  const auto damaged = [](const char* what) {
    return fail(ErrorCode::data_loss, std::string("precompiled_charsmap ") + what);
  };
  if (blob.size() < kUnitBytes) return damaged("is too short");
  const std::size_t trie_bytes = read_unit(blob);
  blob.remove_prefix(kUnitBytes);
  if (trie_bytes > blob.size() || trie_bytes < kUnitBytes) return damaged("has a trie of an impossible size");
  Charsmap map;
  for (std::size_t i = 0; i + kUnitBytes <= trie_bytes; i += kUnitBytes)
    map.units_.push_back(read_unit(blob.substr(i)));
  map.replacements_ = blob.substr(trie_bytes / kUnitBytes * kUnitBytes);
  if (valid_utf8(map.replacements_) != map.replacements_) return damaged("holds text that is not UTF-8");

  UErrorCode status = U_ZERO_ERROR;
  map.clusters_.reset(icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  if (U_FAILURE(status)) return fail(ErrorCode::internal, "ICU has no rules for grapheme clusters");
  return map;
}

std::optional<std::string_view> Charsmap::replacement(std::string_view text) const {
  std::uint32_t node = offset_of(units_[0]);
  for (const char c : text) {
    const auto label = static_cast<unsigned char>(c);
    node ^= label;
    if (label == 0 || node >= units_.size() || label_of(units_[node]) != label) return std::nullopt;
    const bool found = has_value(units_[node]);
    node ^= offset_of(units_[node]);
    if (!found) continue;
    if (node >= units_.size() || value_of(units_[node]) >= replacements_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(replacements_).substr(value_of(units_[node]));
    if (is_continuation(rest[0])) return std::nullopt;  // a damaged offset, into the middle of a character
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string Charsmap::normalise(std::string_view text) const {
  std::string normalised;
  normalised.reserve(text.size());
  const std::unique_ptr<icu::BreakIterator> clusters(clusters_->clone());
  ClusterText cluster_text(text);
  UErrorCode status = U_ZERO_ERROR;
  clusters->setText(cluster_text.get(), status);
  CHECK_WITH(U_SUCCESS(status), u_errorName(status));

  std::size_t begin = 0;
  for (auto boundary = clusters->next(); boundary != icu::BreakIterator::DONE; boundary = clusters->next()) {
    const auto end = static_cast<std::size_t>(boundary);
    if (end - begin <= kClusterBytesMax) {
      if (const auto whole = replacement(text.substr(begin, end - begin))) {
        normalised += *whole;
        begin = end;
        continue;
      }
    }
    while (begin < end) {
      const std::size_t character = begin;
      next_code_point(text, begin);
      const std::string_view part = text.substr(character, begin - character);
      normalised += replacement(part).value_or(part);
    }
  }
  return normalised;
}

}  // namespace diffused::tokenizers
