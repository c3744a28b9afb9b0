// A Qwen as a text encoder, with its tokenizer and the words in which it expects a prompt.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "models/qwen3.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/qwen_sight.h"
#include "tokenizers/tokenizer.h"

namespace diffused::pipelines {

// What a family wants of Qwen3.
struct Qwen3Use {
  // After which layers it wants the states, of so many layers as there are; the same count always.
  std::vector<std::int64_t> (*taps)(std::int64_t layers) = nullptr;
  bool thinking = true;  // whether the model is told that it may think
};

// What stands around a prompt, as text that a tokenizer cuts at its special tokens.
struct PromptWords {
  std::string before, after;
  int tokens_dropped = 0;  // of the states, so many at the beginning are nobody's
};

// Immutable once loaded. encode: device thread only; the others from any thread.
class QwenTextEncoder {
 public:
  // Loads text_encoder, a Qwen3Model or Qwen3ForCausalLM, and tokenizer with its chat template. Errors and
  // exceptions as load_pipeline; data_loss when it has too few layers.
  static Result<QwenTextEncoder> load_qwen3(LatentLoader& loader, const Qwen3Use& use);
  // Loads text_encoder, a Qwen2_5_VLForConditionalGeneration without what is for pictures, and tokenizer.
  // Errors and exceptions as load_pipeline.
  static Result<QwenTextEncoder> load_qwen2_5_vl(LatentLoader& loader, PromptWords words);
  // The same with what is for pictures, and `processor`. Pictures are seen as sized_to_area(area).
  static Result<QwenTextEncoder> load_with_sight(LatentLoader& loader, PromptWords words, double area);

  // The ids of `first` and the prompt between the words, at most `length` besides those that are dropped, cut
  // off at the right. Weighted: see is_weighted. Error: data_loss when the encoder has no such id, or when
  // nothing is left of the ids.
  Result<EncoderText> tokenize(std::string_view prompt, bool weighted, int length,
                               std::string_view first = {}) const;

  // The states of `length` tokens, those behind the text's being padding; 0: of the text's own. A token's
  // weight multiplies its state, after which the mean is made what it was. [1, L, state_size()], of the
  // tokens that are not dropped.
  at::Tensor encode(const EncoderText& text, int length = 0) const { return encode(text, length, {}); }
  // The same of a text with such pictures in it as `expanded` made room for. Needs sight.
  at::Tensor encode(const EncoderText& text,
                    const std::vector<std::shared_ptr<const Image>>& pictures) const {
    return encode(text, 0, pictures);
  }

  // How the text encoder sees a picture; null without sight.
  const QwenSight* sight() const { return sight_ ? &*sight_ : nullptr; }
  // A text in which each place of a picture became as many as it has vectors, cut off as tokenize does.
  // Error: invalid_argument when it has another number of places. Needs sight.
  Result<EncoderText> expanded(const EncoderText& text,
                               const std::vector<std::shared_ptr<const Image>>& pictures, int length) const;

  // How many states a text has.
  std::int64_t states(const EncoderText& text) const {
    return static_cast<std::int64_t>(text.ids.size()) - words_.tokens_dropped;
  }
  const models::Qwen3Config& config() const { return network_->config(); }

 private:
  QwenTextEncoder(std::shared_ptr<const models::Qwen3> network, at::Device device, PromptWords words)
      : network_(std::move(network)), device_(device), words_(std::move(words)) {}

  at::Tensor encode(const EncoderText& text, int length,
                    const std::vector<std::shared_ptr<const Image>>& pictures) const;

  std::shared_ptr<const models::Qwen3> network_;
  at::Device device_;
  std::unique_ptr<tokenizers::Tokenizer> tokenizer_;
  PromptWords words_;
  std::optional<QwenSight> sight_;
};

}  // namespace diffused::pipelines
