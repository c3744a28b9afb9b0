// The T5 tokenizer: charsmap, white space, "▁" before each word, unigram pieces. Rules: T5Tokenizer of
// transformers 5.23 (models/t5/tokenization_t5.py), which builds the same pipeline whichever kind of file the
// folder holds.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>

#include "tokenizers/charsmap.h"
#include "tokenizers/folder.h"
#include "tokenizers/framed_tokenizer.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/special_tokens.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"

namespace diffused::tokenizers {
namespace {

constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581, in place of the space before a word
constexpr int kUnknownId = 2;                           // T5's, whatever the file says
constexpr int kExtraIds = 100;                          // <extra_id_0> to <extra_id_99>
constexpr std::string_view kExtraIdName = "<extra_id_";

class T5Text final : public TextModel {
 public:
  T5Text(std::optional<Charsmap> charsmap, Unigram unigram)
      : charsmap_(std::move(charsmap)), unigram_(std::move(unigram)) {}

  std::string normalise(std::string_view text) const override {
    return charsmap_ ? charsmap_->normalise(text) : std::string(text);
  }

  void append_ids(std::string_view normalised, std::vector<int>& ids) const override {
    std::size_t word_begin = 0;
    for (std::size_t position = 0; position < normalised.size();) {
      const std::size_t end = position;
      if (!is_space(next_code_point(normalised, position))) continue;
      append_word(normalised.substr(word_begin, end - word_begin), ids);
      word_begin = position;
    }
    append_word(normalised.substr(word_begin), ids);
  }

 private:
  // A word begins with one mark; each further mark inside it begins another word.
  void append_word(std::string_view word, std::vector<int>& ids) const {
    if (word.empty()) return;
    const std::string marked =
        word.starts_with(kWordMark) ? std::string(word) : std::string(kWordMark).append(word);
    for (std::string_view rest = marked; !rest.empty();) {
      const std::string_view part = rest.substr(0, rest.find(kWordMark, kWordMark.size()));
      unigram_.append_ids(part, ids);
      rest.remove_prefix(part.size());
    }
  }

  std::optional<Charsmap> charsmap_;
  Unigram unigram_;
};

std::vector<std::string> extra_id_names() {
  std::vector<std::string> names;
  for (int i = 0; i < kExtraIds; ++i) names.push_back(fmt::format("{}{}>", kExtraIdName, i));
  return names;
}

Result<std::string> decode_base64(std::string_view text) {
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return fail(ErrorCode::data_loss, "precompiled_charsmap is not base64");
  // OpenSSL counts the padding as bytes.
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(length) - std::min(padding, static_cast<std::size_t>(length)));
  return bytes;
}

// Scores are 32-bit floats in SentencePiece, but Boost.JSON may read their digits one or two units in the
// last place beside the double that they name: enough to turn a tie between two spellings. Such a double is
// put right.
double exact_score(double score) {
  const double rounded = static_cast<float>(score);
  return std::abs(rounded - score) <= 1e-14 * std::abs(score) ? rounded : score;
}

struct UnigramData {
  std::vector<Piece> pieces = {};
  std::string charsmap = {};             // empty: texts are not normalised
  std::vector<AddedToken> special = {};  // that the pieces declare themselves
};

// The charsmap of the first normaliser that has one.
Result<std::string> read_charsmap(const Folder& folder) {
  const json::value* normalizer = folder.tokenizer->if_contains("normalizer");
  if (normalizer == nullptr || !normalizer->is_object()) return std::string();
  json::array steps = {*normalizer};
  if (const json::value* sequence = normalizer->get_object().if_contains("normalizers")) {
    if (!sequence->is_array()) {
      return bad_file(ErrorCode::data_loss, tokenizer_file(folder), "\"normalizers\" must be an array");
    }
    steps = sequence->get_array();
  }
  for (const json::value& step : steps) {
    const json::value* charsmap =
        step.is_object() ? step.get_object().if_contains("precompiled_charsmap") : nullptr;
    if (charsmap != nullptr && charsmap->is_string()) {
      return in_file(tokenizer_file(folder), decode_base64(charsmap->get_string()));
    }
  }
  return std::string();
}

Result<UnigramData> read_unigram_json(const Folder& folder) {
  const std::filesystem::path file = tokenizer_file(folder);
  UnigramData data;
  TRY(const json::object* model, model_member(folder, "Unigram"));
  TRY(const json::array* vocabulary, array_member(*model, "vocab", file));
  for (const json::value& value : *vocabulary) {
    const json::array* entry = value.if_array();
    if (entry == nullptr || entry->size() != 2 || !(*entry)[0].is_string() || !(*entry)[1].is_number()) {
      return bad_file(ErrorCode::data_loss, file, "an entry of \"vocab\" must be [\"piece\", score]");
    }
    data.pieces.emplace_back((*entry)[0].get_string(), exact_score((*entry)[1].to_number<double>()));
  }
  TRY(data.charsmap, read_charsmap(folder));
  TRY(data.special, read_additional_tokens(folder));
  return data;
}

Result<UnigramData> read_spiece_model(const Folder& folder) {
  const std::filesystem::path file = folder.path / "spiece.model";
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    return bad_file(ErrorCode::not_found, folder.path, "holds neither tokenizer.json nor spiece.model");
  }
  TRY(const std::string content, read_file(file));
  TRY(SentencePieceModel model, in_file(file, parse_sentencepiece(content)));
  UnigramData data{.pieces = std::move(model.pieces), .charsmap = std::move(model.precompiled_charsmap)};
  // The extra ids are not in the file: they follow its pieces, the last one first.
  std::vector<std::string> names = extra_id_names();
  for (auto name = names.rbegin(); name != names.rend(); ++name) data.pieces.emplace_back(*name, 0.0);
  for (std::string& piece : model.special_pieces) data.special.push_back({.content = std::move(piece)});
  return data;
}

Result<SpecialTokens> read_t5_special_tokens(const Folder& folder, std::vector<AddedToken> special) {
  const auto is_extra_id = [](const AddedToken& token) {
    return token.content.find(kExtraIdName) != std::string::npos;
  };
  if (std::none_of(special.begin(), special.end(), is_extra_id)) {
    for (std::string& name : extra_id_names()) special.push_back({.content = std::move(name)});
  }
  return read_special_tokens(folder, {.end = "</s>", .unknown = "<unk>", .padding = "<pad>"}, special);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_t5_tokenizer(const std::filesystem::path& path) {
  TRY(const Folder folder, read_folder(path));
  TRY(UnigramData data, folder.tokenizer ? read_unigram_json(folder) : read_spiece_model(folder));
  const std::filesystem::path file = folder.tokenizer ? tokenizer_file(folder) : folder.path / "spiece.model";
  if (data.pieces.size() <= kUnknownId) {
    return bad_file(ErrorCode::data_loss, file, "holds no unknown piece (id 2)");
  }
  TRY(SpecialTokens special, read_t5_special_tokens(folder, std::move(data.special)));
  std::unordered_map<std::string, int> vocabulary;
  vocabulary.reserve(data.pieces.size());
  for (std::size_t id = 0; id < data.pieces.size(); ++id) {
    vocabulary.insert_or_assign(data.pieces[id].first, static_cast<int>(id));
  }
  const auto ids = assign_ids(special.added, vocabulary, data.pieces.size());
  TRY(const std::optional<int> length, length_default(folder));

  std::optional<Charsmap> charsmap;
  if (!data.charsmap.empty()) {
    TRY(charsmap, in_file(file, Charsmap::parse(data.charsmap)));
  }
  auto text = std::make_unique<T5Text>(std::move(charsmap), Unigram(data.pieces, kUnknownId));
  return make_framed_tokenizer(std::move(text), special.added,
                               Frame{.end_id = ids.at(special.roles.end),
                                     .padding_id = ids.at(special.roles.padding),
                                     .length_default = length});
}

}  // namespace diffused::tokenizers
