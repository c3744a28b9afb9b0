#include "pipelines/qwen_encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "pipelines/encoder_text.h"
#include "tokenizers/chat_template.h"
#include "tokenizers/weighted_prompt.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kEncoder = "text_encoder";
constexpr const char* kTokenizer = "tokenizer";

}  // namespace

Result<QwenTextEncoder> QwenTextEncoder::load_qwen3(LatentLoader& loader, const Qwen3Use& use) {
  const ModelFolder& folder = loader.folder();
  const bool with_head = folder.class_of(kEncoder) == "Qwen3ForCausalLM";
  TRY_VOID(folder.require(kEncoder, "transformers", with_head ? "Qwen3ForCausalLM" : "Qwen3Model"));
  TRY(auto config, folder.config<models::Qwen3Config>(kEncoder));
  config.taps = use.taps(config.num_hidden_layers);
  if (config.taps.front() < 1 || config.taps.back() > config.num_hidden_layers) {
    return folder.refuse(
        ErrorCode::data_loss, "text_encoder/config.json",
        fmt::format("num_hidden_layers is {}, too few for this pipeline", config.num_hidden_layers));
  }
  TRY(const auto words, tokenizers::read_chat_template(folder.path() / kTokenizer));
  TRY(auto network, loader.network<models::Qwen3>(kEncoder, "model", config));
  QwenTextEncoder loaded(std::move(network), loader.device(),
                         {.before = std::string(words.before()),
                          .after = std::string(words.after(use.thinking)),
                          .tokens_dropped = 0});
  TRY(loaded.tokenizer_, tokenizers::load_qwen2_tokenizer(folder.path() / kTokenizer));
  return loaded;
}

Result<QwenTextEncoder> QwenTextEncoder::load_qwen2_5_vl(LatentLoader& loader, PromptWords words) {
  const ModelFolder& folder = loader.folder();
  TRY_VOID(folder.require(kEncoder, "transformers", "Qwen2_5_VLForConditionalGeneration"));
  TRY(const auto config, folder.config<models::Qwen25VlTextConfig>(kEncoder));
  models::Qwen3Config decoder = config.decoder;
  decoder.taps = {decoder.num_hidden_layers};
  TRY(auto network, loader.network<models::Qwen3>(kEncoder, "model", decoder));
  QwenTextEncoder loaded(std::move(network), loader.device(), std::move(words));
  TRY(loaded.tokenizer_, tokenizers::load_qwen2_tokenizer(folder.path() / kTokenizer));
  return loaded;
}

Result<QwenTextEncoder> QwenTextEncoder::load_with_sight(LatentLoader& loader, PromptWords words,
                                                         double area) {
  const ModelFolder& folder = loader.folder();
  TRY_VOID(folder.require(kEncoder, "transformers", "Qwen2_5_VLForConditionalGeneration"));
  TRY(auto config, folder.config<models::Qwen25VlConfig>(kEncoder));
  config.decoder.taps = {config.decoder.num_hidden_layers};
  TRY(const PictureRules rules, read_picture_rules(folder));
  TRY(auto network, loader.network<models::Qwen25Vl>(kEncoder, "model", config));
  const auto text = std::shared_ptr<const models::Qwen3>(network, &network->text());
  QwenTextEncoder loaded(text, loader.device(), std::move(words));
  loaded.sight_.emplace(std::move(network), rules, area,
                        at::TensorOptions(loader.device()).dtype(loader.dtype()));
  TRY(loaded.tokenizer_, tokenizers::load_qwen2_tokenizer(folder.path() / kTokenizer));
  return loaded;
}

Result<EncoderText> QwenTextEncoder::expanded(const EncoderText& text,
                                              const std::vector<std::shared_ptr<const Image>>& pictures,
                                              int length) const {
  const int token = sight_->token_id();
  if (std::ranges::count(text.ids, token) != std::ssize(pictures))
    return fail(ErrorCode::invalid_argument, "a prompt must not name <|image_pad|>");
  EncoderText made;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.ids.size(); ++i) {
    const bool place = text.ids[i] == token;
    const auto count = static_cast<std::size_t>(place ? sight_->vectors(*pictures[seen++]) : 1);
    made.ids.insert(made.ids.end(), count, text.ids[i]);
    if (!text.weights.empty()) made.weights.insert(made.weights.end(), count, text.weights[i]);
  }
  const auto length_max = static_cast<std::size_t>(length + words_.tokens_dropped);
  made.ids.resize(std::min(made.ids.size(), length_max));
  made.weights.resize(std::min(made.weights.size(), length_max));
  return made;
}

Result<EncoderText> QwenTextEncoder::tokenize(std::string_view prompt, bool weighted, int length,
                                              std::string_view first) const {
  EncoderText made;
  std::vector<tokenizers::WeightedText> pieces;
  if (weighted) pieces = tokenizers::parse_weighted_prompt(prompt);
  const bool plain = std::ranges::all_of(pieces, [](const auto& piece) { return piece.weight == 1; });
  const auto length_max = static_cast<std::size_t>(length + words_.tokens_dropped);
  if (plain) {
    // Whole, as words may reach from the template into the prompt.
    std::string text = words_.before;
    text += first;
    if (!weighted) text += prompt;
    for (const auto& piece : pieces) text += piece.text;
    made.ids = tokenizer_->text_ids(text + words_.after);
  } else {
    const auto add = [&](std::string_view text, double weight) {
      const std::vector<int> ids = tokenizer_->text_ids(text);
      made.ids.insert(made.ids.end(), ids.begin(), ids.end());
      made.weights.resize(made.ids.size(), static_cast<float>(weight));
    };
    add(words_.before, 1);
    add(first, 1);
    for (const auto& piece : pieces) add(piece.text, piece.weight);
    add(words_.after, 1);
    made.weights.resize(std::min(made.weights.size(), length_max));
  }
  made.ids.resize(std::min(made.ids.size(), length_max));
  if (states(made) < 1) {
    return fail(ErrorCode::data_loss, fmt::format("{} makes {} tokens of a prompt and what stands around it, "
                                                  "of which the first {} do not count",
                                                  kTokenizer, made.ids.size(), words_.tokens_dropped));
  }
  TRY_VOID(check_ids(made.ids, config().vocab_size, kTokenizer));
  return made;
}

at::Tensor QwenTextEncoder::encode(const EncoderText& text, int length,
                                   const std::vector<std::shared_ptr<const Image>>& pictures) const {
  const auto real = static_cast<std::int64_t>(text.ids.size());
  std::vector<int> ids = text.ids;
  ids.resize(std::max(ids.size(), static_cast<std::size_t>(length)), tokenizer_->frame().padding_id);
  at::Tensor vectors = network_->embed(id_tensor(ids, device_));  // [1, L, hidden_size]
  if (!pictures.empty()) vectors = sight_->placed(vectors, ids, pictures);
  at::Tensor states = network_->run(vectors, real);  // [1, L, state_size]
  if (!text.weights.empty()) {
    std::vector<float> weights = text.weights;
    weights.resize(ids.size(), 1);
    states = emphasised(states, weights);
  }
  return states.narrow(1, words_.tokens_dropped, states.size(1) - words_.tokens_dropped);
}

}  // namespace diffused::pipelines
