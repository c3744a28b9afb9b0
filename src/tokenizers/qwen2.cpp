// The tokenizer of Qwen2 and Qwen3: NFC, words split as GPT-4's are but with each digit alone, byte-pair
// encoding of bytes. Rules: Qwen2Tokenizer of transformers 5.23 (models/qwen2/tokenization_qwen2.py), which
// builds the same pipeline whichever kind of file the folder holds.
#include <algorithm>
#include <array>
#include <utility>

#include "tokenizers/byte_pair.h"
#include "tokenizers/byte_pair_files.h"
#include "tokenizers/folder.h"
#include "tokenizers/framed_tokenizer.h"
#include "tokenizers/special_tokens.h"
#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";
// After an apostrophe, in either case. The long s is an s in another case.
constexpr std::array<std::string_view, 8> kApostropheEndings = {"s",  "\xC5\xBF", "t",  "re",
                                                                "ve", "m",        "ll", "d"};

bool is_line_end(char32_t c) { return c == '\r' || c == '\n'; }
bool is_symbol(char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }

// Where the run of code points of this kind ends that begins at `position`.
template <typename Kind>
std::size_t run_end(std::string_view text, std::size_t position, Kind is_kind) {
  for (std::size_t next = position; next < text.size() && is_kind(next_code_point(text, next));)
    position = next;
  return position;
}

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b; };
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(), [&](char b, char a) { return same(a, b); });
}

std::size_t contraction_length(std::string_view text) {
  if (!text.starts_with('\'')) return 0;
  for (const std::string_view contraction : kApostropheEndings) {
    if (starts_with_any_case(text.substr(1), contraction)) return 1 + contraction.size();
  }
  return 0;
}

// The length of the word at the start of white space that a text begins with: up to the last line end in it;
// without one all but the last character, which belongs to the word behind, unless there is none.
std::size_t space_length(std::string_view text) {
  const std::size_t end = run_end(text, 0, is_space);
  if (const std::size_t line_end = text.substr(0, end).find_last_of("\r\n"); line_end != text.npos)
    return line_end + 1;
  if (end == text.size()) return end;
  std::size_t last = end;
  previous_code_point(text, last);
  return last > 0 ? last : end;
}

// The length of the word that `text`, which is not empty, begins with: what the first alternative that
// matches of Qwen2's pattern takes.
std::size_t qwen2_word_length(std::string_view text) {
  if (const std::size_t contraction = contraction_length(text)) return contraction;
  std::size_t second = 0;
  const char32_t first = next_code_point(text, second);
  if (is_number(first)) return second;
  // Letters, and one character before them that is no line end.
  if (is_letter(first)) return run_end(text, second, is_letter);
  if (!is_line_end(first)) {
    if (const std::size_t end = run_end(text, second, is_letter); end > second) return end;
  }
  // Symbols, a space before them and line ends behind.
  const std::size_t symbols = first == ' ' ? second : 0;
  if (const std::size_t end = run_end(text, symbols, is_symbol); end > symbols)
    return run_end(text, end, is_line_end);
  return space_length(text);
}

class Qwen2Text final : public TextModel {
 public:
  explicit Qwen2Text(BytePair byte_pair) : byte_pair_(std::move(byte_pair)) {}

  std::string normalise(std::string_view text) const override { return composer_.compose(std::string(text)); }

  void append_ids(std::string_view rest, std::vector<int>& ids) const override {
    while (!rest.empty()) {
      const std::size_t length = qwen2_word_length(rest);
      byte_pair_.append_ids(rest.substr(0, length), ids);
      rest.remove_prefix(length);
    }
  }

 private:
  BytePair byte_pair_;
  Composer composer_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_qwen2_tokenizer(const std::filesystem::path& path) {
  TRY(const Folder folder, read_folder(path));
  TRY(const BytePairFiles files, read_byte_pair_files(folder));
  const std::string end(kEndOfText);
  TRY(const std::vector<AddedToken> additional, read_additional_tokens(folder));
  TRY(SpecialTokens special,
      read_special_tokens(folder, {.end = end, .unknown = end, .padding = end}, additional));
  const auto ids = assign_ids(special.added, files.vocabulary, files.vocabulary.size());
  TRY(const std::optional<int> length, length_default(folder));
  TRY(BytePair byte_pair, in_file(files.merges_file, BytePair::create(files.vocabulary, files.merges,
                                                                      std::nullopt, /*end_of_word=*/"")));
  return make_framed_tokenizer(std::make_unique<Qwen2Text>(std::move(byte_pair)), special.added,
                               Frame{.padding_id = ids.at(special.roles.padding), .length_default = length});
}

}  // namespace diffused::tokenizers
