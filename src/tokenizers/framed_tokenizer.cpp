#include "tokenizers/framed_tokenizer.h"

#include <algorithm>
#include <boost/algorithm/string/replace.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

AddedTokens raw_tokens(std::vector<AddedToken> tokens) {
  std::erase_if(tokens, [](const AddedToken& token) { return token.normalized; });
  return AddedTokens(std::move(tokens));
}

AddedTokens normalised_tokens(std::vector<AddedToken> tokens, const TextModel& model) {
  std::erase_if(tokens, [](const AddedToken& token) { return !token.normalized; });
  for (AddedToken& token : tokens) token.content = model.normalise(token.content);
  return AddedTokens(std::move(tokens));
}

class FramedTokenizer final : public Tokenizer {
 public:
  FramedTokenizer(std::unique_ptr<const TextModel> model, const std::vector<AddedToken>& added_tokens,
                  Frame frame)
      : model_(std::move(model)),
        raw_tokens_(raw_tokens(added_tokens)),
        normalised_tokens_(normalised_tokens(added_tokens, *model_)),
        frame_(frame) {
    for (const AddedToken& token : added_tokens) {
      contents_.emplace(token.id, token.content);
      names_.insert(token.content);
      if (token.ids > 1) ids_from_.emplace(token.id, token.ids);
    }
  }

  std::optional<int> length_default() const override { return frame_.length_default; }

  std::vector<int> text_ids(std::string_view text) const override {
    std::vector<int> ids;
    append_text(valid_utf8(text), ids);
    return ids;
  }
  const Frame& frame() const override { return frame_; }
  int ids_from(int id) const override {
    const auto several = ids_from_.find(id);
    return several == ids_from_.end() ? 1 : several->second;
  }

  std::string with_all_vectors(std::string_view text) const override {
    std::string whole = valid_utf8(text);
    std::set<std::string> found;
    const auto note = [&](int id) {
      if (ids_from(id) == 1) found.insert(contents_.at(id));
    };
    cut(whole, note, [](std::string_view) {});
    for (const std::string& name : found) {
      const auto vector = [&name](int index) { return name + "_" + std::to_string(index); };
      std::string all = name;
      for (int i = 1; names_.contains(vector(i)); ++i) all += " " + vector(i);
      if (all.size() > name.size()) boost::algorithm::replace_all(whole, name, all);
    }
    return whole;
  }

  Encoding encode(std::string_view text, int length_max) const override {
    Encoding encoding;
    std::vector<int>& ids = encoding.ids;
    if (frame_.begin_id) ids.push_back(*frame_.begin_id);
    append_text(valid_utf8(text), ids);
    const std::size_t end = frame_.end_id ? 1 : 0;
    encoding.token_count = static_cast<int>(ids.size() + end);

    const auto length = static_cast<std::size_t>(std::max(length_max, 1));
    ids.resize(std::min(ids.size(), length - end));
    if (frame_.end_id) ids.push_back(*frame_.end_id);
    ids.resize(length, frame_.padding_id);
    return encoding;
  }

 private:
  // Calls on_token(id) for each added token, on_text(normalised) for each text between them.
  template <typename OnToken, typename OnText>
  void cut(std::string_view text, const OnToken& on_token, const OnText& on_text) const {
    for (const Span& outer : raw_tokens_.cut(text)) {
      if (outer.token_id != Span::kText) {
        on_token(outer.token_id);
        continue;
      }
      const std::string normalised = model_->normalise(outer.text);
      for (const Span& inner : normalised_tokens_.cut(normalised)) {
        if (inner.token_id != Span::kText)
          on_token(inner.token_id);
        else
          on_text(inner.text);
      }
    }
  }

  void append_text(std::string_view text, std::vector<int>& ids) const {
    cut(
        text,
        [&](int id) {
          for (int i = 0; i < ids_from(id); ++i) ids.push_back(id + i);
        },
        [&](std::string_view normalised) { model_->append_ids(normalised, ids); });
  }

  std::unique_ptr<const TextModel> model_;
  AddedTokens raw_tokens_;
  AddedTokens normalised_tokens_;
  std::unordered_map<int, std::string> contents_;  // of the added tokens, by id
  std::unordered_set<std::string> names_;
  std::unordered_map<int, int> ids_from_;  // of those that have several
  Frame frame_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_framed_tokenizer(std::unique_ptr<const TextModel> model,
                                                 const std::vector<AddedToken>& added_tokens,
                                                 const Frame& frame) {
  return std::make_unique<FramedTokenizer>(std::move(model), added_tokens, frame);
}

}  // namespace diffused::tokenizers
