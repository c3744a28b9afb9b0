// The CLIP tokenizer: NFC, white space, lower case, words, byte-pair encoding. Rules: CLIPTokenizer of
// transformers 5.23 (models/clip/tokenization_clip.py), which builds the same pipeline whichever kind of file
// the folder holds.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizers/byte_pair.h"
#include "tokenizers/byte_pair_files.h"
#include "tokenizers/folder.h"
#include "tokenizers/framed_tokenizer.h"
#include "tokenizers/special_tokens.h"
#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

constexpr int kClipLength = 77;
constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
constexpr std::array<std::string_view, 2> kLiterals = {"<|startoftext|>", "<|endoftext|>"};

// The length of the word that `text` begins with: a contraction, letters, one number, or other symbols; 0 at
// a space.
std::size_t word_length(std::string_view text) {
  for (const std::string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  std::size_t end = 0;
  const char32_t first = next_code_point(text, end);
  if (is_space(first)) return 0;
  if (is_number(first)) return end;
  const bool letters = is_letter(first);
  for (std::size_t next = end; next < text.size(); end = next) {
    const char32_t code_point = next_code_point(text, next);
    if (is_letter(code_point) != letters) break;
    if (!letters && (is_space(code_point) || is_number(code_point))) break;
  }
  return end;
}

// The length of the literal of a special token that `text` begins with, or 0. One that was not cut out as a
// token (in upper case, say) is three words, "<|", its name and "|>", whatever follows.
std::size_t literal_length(std::string_view text) {
  for (const std::string_view literal : kLiterals) {
    if (text.starts_with(literal)) return literal.size();
  }
  return 0;
}

class ClipText final : public TextModel {
 public:
  explicit ClipText(BytePair byte_pair) : byte_pair_(std::move(byte_pair)) {}

  std::string normalise(std::string_view text) const override {
    const std::string composed = composer_.compose(std::string(text));
    std::string normalised;
    normalised.reserve(composed.size());
    bool after_space = false;
    for (std::size_t position = 0; position < composed.size();) {
      const char32_t code_point = next_code_point(composed, position);
      const bool space = is_space(code_point);
      if (!space) append_lower_case(normalised, code_point);
      if (space && !after_space) normalised += ' ';
      after_space = space;
    }
    return normalised;
  }

  void append_ids(std::string_view rest, std::vector<int>& ids) const override {
    const auto take_word = [&](std::size_t length) {
      byte_pair_.append_ids(rest.substr(0, length), ids);
      rest.remove_prefix(length);
    };
    while (!rest.empty()) {
      if (const std::size_t literal = literal_length(rest); literal > 0) {
        take_word(2);
        take_word(literal - 4);
        take_word(2);
      } else if (const std::size_t length = word_length(rest); length > 0) {
        take_word(length);
      } else {
        rest.remove_prefix(1);  // a space; normalised text has no others
      }
    }
  }

 private:
  BytePair byte_pair_;
  Composer composer_;
};

// Puts the learned tokens behind the others, so that they count where both have a name.
Result<void> add_learned(const Folder& folder, const Vocabulary& vocabulary,
                         const std::vector<AddedToken>& learned, std::vector<AddedToken>& added) {
  if (learned.empty()) return {};
  int last = 0;
  for (const auto& [token, id] : vocabulary) last = std::max(last, id);
  for (const AddedToken& token : added) last = std::max(last, token.id);
  if (last >= learned.front().id)
    return bad_file(
        ErrorCode::data_loss, folder.path,
        fmt::format("has token id {}, but its text encoder has {} tokens, so that no words can be "
                    "added to them",
                    last, learned.front().id));
  added.insert(added.end(), learned.begin(), learned.end());
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_clip_tokenizer(const std::filesystem::path& path,
                                                       const std::vector<AddedToken>& learned) {
  TRY(const Folder folder, read_folder(path));
  TRY(const BytePairFiles data, read_byte_pair_files(folder));
  const TokenRoles defaults{.begin = "<|startoftext|>",
                            .end = "<|endoftext|>",
                            .unknown = "<|endoftext|>",
                            .padding = "<|endoftext|>"};
  TRY(const std::vector<AddedToken> additional, read_additional_tokens(folder));
  TRY(SpecialTokens special, read_special_tokens(folder, defaults, additional));
  const auto ids = assign_ids(special.added, data.vocabulary, data.vocabulary.size());
  TRY(const std::optional<int> length, length_default(folder));

  const int unknown_id = ids.at(special.roles.unknown);
  TRY(BytePair byte_pair,
      in_file(data.merges_file, BytePair::create(data.vocabulary, data.merges, unknown_id)));
  TRY_VOID(add_learned(folder, data.vocabulary, learned, special.added));
  return make_framed_tokenizer(std::make_unique<ClipText>(std::move(byte_pair)), special.added,
                               Frame{.begin_id = ids.at(special.roles.begin),
                                     .end_id = ids.at(special.roles.end),
                                     .padding_id = ids.at(special.roles.padding),
                                     .length_default = length.value_or(kClipLength)});
}

}  // namespace diffused::tokenizers
