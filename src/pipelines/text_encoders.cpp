#include "pipelines/text_encoders.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "pipelines/encoder_text.h"
#include "pipelines/latent_request.h"
#include "tokenizers/unicode.h"
#include "tokenizers/weighted_prompt.h"

namespace diffused::pipelines {
namespace {

constexpr int kClipLengthDefault = 77;
constexpr int kChunksMax = 16;

// The prompt as the tokenizer gets it.
std::string as_told(const tokenizers::Tokenizer& tokenizer, bool several_vectors, std::string_view prompt) {
  return several_vectors ? tokenizer.with_all_vectors(prompt) : std::string(prompt);
}

// A word that begins and ends with letters or digits is one where none touch it.
bool is_word(const std::string& name) {
  std::size_t position = 0;
  return tokenizers::is_word_part(tokenizers::next_code_point(name, position)) &&
         tokenizers::is_word_part(tokenizers::previous_code_point(name, position = name.size()));
}

std::vector<tokenizers::AddedToken> tokens_of(const std::vector<LearnedWord>& words, std::int64_t first_id) {
  std::vector<tokenizers::AddedToken> tokens;
  auto id = static_cast<int>(first_id);
  for (const LearnedWord& word : words) {
    const auto ids = static_cast<int>(word.vectors.size(0));
    tokens.push_back({.content = word.name,
                      .single_word = is_word(word.name),
                      .normalized = true,
                      .id = std::exchange(id, id + ids),
                      .ids = ids});
  }
  return tokens;
}

at::Tensor vectors_of(const std::vector<LearnedWord>& words) {
  std::vector<at::Tensor> vectors;
  for (const LearnedWord& word : words) vectors.push_back(word.vectors);
  return at::cat(vectors);  // [n, hidden_size]
}

}  // namespace

Result<ClipEncoder> ClipEncoder::load(LatentLoader& loader, const std::string& number,
                                      std::string_view class_name) {
  const ModelFolder& folder = loader.folder();
  const std::string component = "text_encoder" + number;
  TRY_VOID(folder.require(component, "transformers", class_name));
  TRY(models::ClipTextConfig config, folder.config<models::ClipTextConfig>(component));
  config.with_projection = class_name == "CLIPTextModelWithProjection";
  // A file may hold the projection without its class using it; with it, it counts as used.
  TRY(auto network, loader.network<models::ClipText>(component, "model", config, {"text_projection."}));
  ClipEncoder loaded(std::move(network), loader);
  loaded.tokenizer_name_ = "tokenizer" + number;
  const std::vector<LearnedWord>& words = loader.learned_words(component);
  TRY(loaded.tokenizer_, tokenizers::load_clip_tokenizer(folder.path() / loaded.tokenizer_name_,
                                                         tokens_of(words, config.vocab_size)));
  if (!words.empty()) loaded.learned_ = vectors_of(words).to(loader.device(), loader.dtype());
  loaded.length_ = loaded.tokenizer_->length_default().value_or(kClipLengthDefault);
  if (loaded.length_ > config.max_position_embeddings) {
    return folder.refuse(
        ErrorCode::data_loss, loaded.tokenizer_name_ + "/tokenizer_config.json",
        fmt::format("model_max_length {} is more than the text encoder's max_position_embeddings, {}",
                    loaded.length_, config.max_position_embeddings));
  }
  return loaded;
}

Result<EncoderText> ClipEncoder::tokenize(std::string_view prompt, bool weighted, int length,
                                          int chunks) const {
  const std::string text = as_told(*tokenizer_, several_vectors_, prompt);
  EncoderText made;
  if (weighted) {
    auto parts = tokenizers::weighted_chunks(*tokenizer_, text, length);
    const auto empty = tokenizers::weighted_chunks(*tokenizer_, "", length).front();
    parts.resize(static_cast<std::size_t>(chunks), empty);
    for (const auto& part : parts) {
      made.ids.insert(made.ids.end(), part.ids.begin(), part.ids.end());
      made.weights.insert(made.weights.end(), part.weights.begin(), part.weights.end());
    }
  } else {
    made.ids = tokenizer_->encode(text, length).ids;
  }
  const std::int64_t learned = learned_.defined() ? learned_.size(0) : 0;
  TRY_VOID(check_ids(made.ids, config().vocab_size + learned, tokenizer_name_));
  return made;
}

int ClipEncoder::chunks(std::string_view prompt, int length) const {
  const std::string text = as_told(*tokenizer_, several_vectors_, prompt);
  return static_cast<int>(tokenizers::weighted_chunks(*tokenizer_, text, length).size());
}

ClipEmbedding ClipEncoder::embed(const EncoderText& text, int chunks, ClipState state, int clip_skip) const {
  const std::size_t length = text.ids.size() / static_cast<std::size_t>(chunks);
  ClipEmbedding embedding;
  std::vector<at::Tensor> tokens;
  for (std::size_t begin = 0; begin < text.ids.size(); begin += length) {
    // Other programs take no learned word for the end of a text.
    const models::ClipTextOutput out =
        network_->forward(id_tensor(std::span(text.ids).subspan(begin, length), device_),
                          {.vectors = learned_, .may_end = text.weights.empty()});
    at::Tensor states = state == ClipState::penultimate ? out.penultimate(clip_skip)
                        : clip_skip == 0                ? out.last_hidden_state
                                                        : network_->normed(out.penultimate(clip_skip - 1));
    if (!text.weights.empty()) states = emphasised(states, std::span(text.weights).subspan(begin, length));
    tokens.push_back(states);
    if (begin == 0) embedding.pooled = out.pooled;
  }
  embedding.tokens = tokens.size() == 1 ? tokens.front() : at::cat(tokens, 1);
  return embedding;
}

Result<T5TextEncoder> T5TextEncoder::load(LatentLoader& loader, const std::string& number) {
  const ModelFolder& folder = loader.folder();
  const std::string component = "text_encoder" + number;
  TRY_VOID(folder.require(component, "transformers", "T5EncoderModel"));
  TRY(const auto config, folder.config<models::T5Config>(component));
  TRY(auto network, loader.network<models::T5Encoder>(component, "model", config, {"decoder.", "lm_head."}));
  T5TextEncoder loaded(std::move(network), loader);
  loaded.tokenizer_name_ = "tokenizer" + number;
  TRY(loaded.tokenizer_, tokenizers::load_t5_tokenizer(folder.path() / loaded.tokenizer_name_));
  return loaded;
}

Result<EncoderText> T5TextEncoder::tokenize(std::string_view prompt, bool weighted, int length) const {
  const std::string text = as_told(*tokenizer_, several_vectors_, prompt);
  EncoderText made;
  if (weighted) {
    auto read = tokenizers::weighted_text(*tokenizer_, text, length);
    made = {std::move(read.ids), std::move(read.weights)};
  } else {
    made.ids = tokenizer_->encode(text, length).ids;
  }
  TRY_VOID(check_ids(made.ids, config().vocab_size, tokenizer_name_));
  return made;
}

at::Tensor T5TextEncoder::encode(const EncoderText& text) const {
  const at::Tensor states = network_->forward(id_tensor(text.ids, device_));
  return text.weights.empty() ? states : emphasised(states, text.weights);
}

Result<int> count_chunks(const GenerateRequest& request, int length, const std::vector<ClipTextUse>& texts) {
  int most = 1;
  if (!is_weighted(request)) return most;
  for (const ClipTextUse& use : texts) most = std::max(most, use.encoder.chunks(use.text, length));
  if (most <= kChunksMax) return most;
  return wrong_field(fmt::format("the prompt needs {} chunks; at most {} are taken", most, kChunksMax),
                     "prompt");
}

}  // namespace diffused::pipelines
