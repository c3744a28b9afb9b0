// Qwen3 as a text encoder, with its tokenizer and the words in which it expects a prompt.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/qwen3.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "tokenizers/chat_template.h"
#include "tokenizers/tokenizer.h"

namespace diffused::pipelines {

// What a family wants of it.
struct Qwen3Use {
  // After which layers it wants the states, of so many layers as there are; the same count always.
  std::vector<std::int64_t> (*taps)(std::int64_t layers) = nullptr;
  bool thinking = true;  // whether the model is told that it may think
};

// Immutable once loaded. encode: device thread only; the others from any thread.
class Qwen3TextEncoder {
 public:
  // Loads text_encoder, a Qwen3Model or Qwen3ForCausalLM, and tokenizer. Errors and exceptions as
  // load_pipeline; data_loss when it has too few layers.
  static Result<Qwen3TextEncoder> load(LatentLoader& loader, const Qwen3Use& use);

  // The prompt's ids in the words of the chat template, at most `length` of them, cut off at the right.
  // Weighted: see is_weighted. Error: data_loss when the encoder has no such id.
  Result<EncoderText> tokenize(std::string_view prompt, bool weighted, int length) const;

  // The states of `length` tokens, those behind the text's being padding; 0: of the text's own. A token's
  // weight multiplies its state, after which the mean is made what it was. [1, L, state_size()].
  at::Tensor encode(const EncoderText& text, int length = 0) const;

  const models::Qwen3Config& config() const { return network_->config(); }

 private:
  Qwen3TextEncoder(std::shared_ptr<const models::Qwen3> network, at::Device device)
      : network_(std::move(network)), device_(device) {}

  std::shared_ptr<const models::Qwen3> network_;
  at::Device device_;
  std::unique_ptr<tokenizers::Tokenizer> tokenizer_;
  tokenizers::ChatTemplate template_;
  bool thinking_ = true;
};

}  // namespace diffused::pipelines
