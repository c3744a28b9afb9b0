#include "tokenizers/framed_tokenizer.h"

#include <algorithm>

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
        frame_(frame) {}

  std::optional<int> length_default() const override { return frame_.length_default; }

  std::vector<int> text_ids(std::string_view text) const override {
    std::vector<int> ids;
    append_text(valid_utf8(text), ids);
    return ids;
  }
  const Frame& frame() const override { return frame_; }

  Encoding encode(std::string_view text, int length_max) const override {
    Encoding encoding;
    std::vector<int>& ids = encoding.ids;
    if (frame_.begin_id) ids.push_back(*frame_.begin_id);
    append_text(valid_utf8(text), ids);
    encoding.token_count = static_cast<int>(ids.size()) + 1;

    const auto length = static_cast<std::size_t>(std::max(length_max, 1));
    ids.resize(std::min(ids.size(), length - 1));
    ids.push_back(frame_.end_id);
    ids.resize(length, frame_.padding_id);
    return encoding;
  }

 private:
  void append_text(std::string_view text, std::vector<int>& ids) const {
    for (const Span& outer : raw_tokens_.cut(text)) {
      if (outer.token_id != Span::kText) {
        ids.push_back(outer.token_id);
        continue;
      }
      const std::string normalised = model_->normalise(outer.text);
      for (const Span& inner : normalised_tokens_.cut(normalised)) {
        if (inner.token_id != Span::kText) {
          ids.push_back(inner.token_id);
        } else {
          model_->append_ids(inner.text, ids);
        }
      }
    }
  }

  std::unique_ptr<const TextModel> model_;
  AddedTokens raw_tokens_;
  AddedTokens normalised_tokens_;
  Frame frame_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_framed_tokenizer(std::unique_ptr<const TextModel> model,
                                                 const std::vector<AddedToken>& added_tokens,
                                                 const Frame& frame) {
  return std::make_unique<FramedTokenizer>(std::move(model), added_tokens, frame);
}

}  // namespace diffused::tokenizers
