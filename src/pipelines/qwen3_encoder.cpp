#include "pipelines/qwen3_encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "pipelines/encoder_text.h"
#include "tokenizers/weighted_prompt.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kEncoder = "text_encoder";
constexpr const char* kTokenizer = "tokenizer";

}  // namespace

Result<Qwen3TextEncoder> Qwen3TextEncoder::load(LatentLoader& loader, const Qwen3Use& use) {
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
  TRY(auto network, loader.network<models::Qwen3>(kEncoder, "model", config));
  Qwen3TextEncoder loaded(std::move(network), loader.device());
  TRY(loaded.tokenizer_, tokenizers::load_qwen2_tokenizer(folder.path() / kTokenizer));
  TRY(loaded.template_, tokenizers::read_chat_template(folder.path() / kTokenizer));
  loaded.thinking_ = use.thinking;
  return loaded;
}

Result<EncoderText> Qwen3TextEncoder::tokenize(std::string_view prompt, bool weighted, int length) const {
  EncoderText made;
  std::vector<tokenizers::WeightedText> pieces;
  if (weighted) pieces = tokenizers::parse_weighted_prompt(prompt);
  const bool plain = std::ranges::all_of(pieces, [](const auto& piece) { return piece.weight == 1; });
  if (plain) {
    // Whole, as words may reach from the template into the prompt.
    std::string text(weighted ? "" : prompt);
    for (const auto& piece : pieces) text += piece.text;
    made.ids = tokenizer_->text_ids(template_.text(text, thinking_));
  } else {
    const auto add = [&](std::string_view text, double weight) {
      const std::vector<int> ids = tokenizer_->text_ids(text);
      made.ids.insert(made.ids.end(), ids.begin(), ids.end());
      made.weights.resize(made.ids.size(), static_cast<float>(weight));
    };
    add(template_.before(), 1);
    for (const auto& piece : pieces) add(piece.text, piece.weight);
    add(template_.after(thinking_), 1);
    made.weights.resize(std::min(made.weights.size(), static_cast<std::size_t>(length)));
  }
  made.ids.resize(std::min(made.ids.size(), static_cast<std::size_t>(length)));
  TRY_VOID(check_ids(made.ids, config().vocab_size, kTokenizer));
  return made;
}

at::Tensor Qwen3TextEncoder::encode(const EncoderText& text, int length) const {
  const auto real = static_cast<std::int64_t>(text.ids.size());
  std::vector<int> ids = text.ids;
  ids.resize(std::max(ids.size(), static_cast<std::size_t>(length)), tokenizer_->frame().padding_id);
  const at::Tensor states = network_->forward(id_tensor(ids, device_), real);  // [1, L, state_size]
  if (text.weights.empty()) return states;
  std::vector<float> weights = text.weights;
  weights.resize(ids.size(), 1);
  return emphasised(states, weights);
}

}  // namespace diffused::pipelines
