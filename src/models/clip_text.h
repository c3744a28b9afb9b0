// CLIP's text encoder as transformers' CLIPTextModel and CLIPTextModelWithProjection run it.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "nn/activation.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of text_encoder/config.json that shape the network; the defaults are those of transformers'
// CLIPTextConfig.
struct ClipTextConfig {
  std::int64_t vocab_size = 49408;
  std::int64_t hidden_size = 512;
  std::int64_t intermediate_size = 2048;
  std::int64_t projection_dim = 512;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 8;
  std::int64_t max_position_embeddings = 77;
  nn::Activation hidden_act = nn::Activation::quick_gelu;
  double layer_norm_eps = 1e-5;
  // 2 is the wrong value that most published folders carry: it means "the first highest id", see ClipText.
  std::int64_t eos_token_id = 49407;
  // Whether `text_projection.weight` belongs to the network: CLIPTextModelWithProjection in "architectures".
  // A pipeline that needs the projection (SD3, SDXL) may set it whatever the file says.
  bool with_projection = false;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for an activation this program does not have; `field` is the key.
  static Result<ClipTextConfig> from_json(const boost::json::object& json);

  bool operator==(const ClipTextConfig&) const = default;

  // Multiply-adds counted twice, for one sequence of `tokens`.
  double flops(std::int64_t tokens) const;
};

// What one forward pass gives; every tensor is in the weights' dtype.
struct ClipTextOutput {
  std::vector<at::Tensor>
      hidden_states;  // layers + 1 of [B, L, hidden_size]: the embeddings, then each layer's output
  at::Tensor last_hidden_state;  // [B, L, hidden_size]: the last of them after the final LayerNorm
  at::Tensor pooled;             // [B, projection_dim], or [B, hidden_size] without projection

  // The sequence SD3 and SDXL condition on: hidden_states[-(clip_skip + 2)], before the final LayerNorm.
  // 0 <= clip_skip < layers.
  const at::Tensor& penultimate(std::int64_t clip_skip = 0) const;
};

// Tokens that the vocabulary has not: their ids go from vocab_size on.
struct LearnedTokens {
  at::Tensor vectors;  // [n, hidden_size] in the weights' dtype; undefined: there are none
  // Whether with eos_token_id 2 they count among the highest ids, as they do in transformers.
  bool may_end = true;
};

class ClipLayer;

// Immutable once built; const methods from any thread (in practice the device thread).
class ClipText {
 public:
  // Reads every tensor under `scope`, with or without the prefix `text_model.`. Throws weights::LoadError.
  ClipText(const ClipTextConfig& config, const weights::Scope& scope);
  ~ClipText();
  ClipText(ClipText&&) noexcept;

  // ids: [B, L] int64 on the weights' device, each of the vocabulary or learned, L <=
  // max_position_embeddings. Causal attention and no padding mask. `pooled` is taken at the first id equal to
  // eos_token_id (at position 0 when there is none); with eos_token_id 2 at the first of the highest ids.
  ClipTextOutput forward(const at::Tensor& ids, const LearnedTokens& learned = {}) const;

  // One of the hidden states after the final LayerNorm, which makes a last_hidden_state of it.
  at::Tensor normed(const at::Tensor& hidden_state) const { return final_layer_norm_(hidden_state); }

  const ClipTextConfig& config() const { return config_; }

 private:
  // `scope` is inside the prefix, `outer` where the projection lies.
  ClipText(const ClipTextConfig& config, const weights::Scope& scope, const weights::Scope& outer);
  at::Tensor embedded(const at::Tensor& ids, const LearnedTokens& learned) const;
  at::Tensor eos_positions(const at::Tensor& ids) const;

  ClipTextConfig config_;
  nn::Embedding token_embedding_;
  at::Tensor position_embedding_;  // [max_position_embeddings, hidden_size]
  std::vector<ClipLayer> layers_;
  nn::LayerNorm final_layer_norm_;
  std::optional<nn::Linear> text_projection_;
};

}  // namespace diffused::models
