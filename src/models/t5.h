// T5's encoder as transformers' T5EncoderModel runs it (v1.0 with relu, v1.1 with gated gelu).
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "nn/activation.h"
#include "nn/embedding.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of text_encoder_3/config.json that shape the network; the defaults are those of transformers'
// T5Config.
struct T5Config {
  std::int64_t vocab_size = 32128;
  std::int64_t d_model = 512;
  std::int64_t d_kv = 64;
  std::int64_t d_ff = 2048;
  std::int64_t num_layers = 6;
  std::int64_t num_heads = 8;
  std::int64_t relative_attention_num_buckets = 32;
  std::int64_t relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
  // feed_forward_proj: "relu" or "gated-gelu" and their kin; "gated-gelu" means the tanh form of gelu.
  bool gated = false;
  nn::Activation activation = nn::Activation::relu;

  // Unknown keys are ignored. Error: invalid_argument or unsupported; `field` is the key.
  static Result<T5Config> from_json(const boost::json::object& json);

  bool operator==(const T5Config&) const = default;

  // Multiply-adds counted twice, for one sequence of `tokens`.
  double flops(std::int64_t tokens) const;
};

class T5Block;

// Immutable once built; const methods from any thread (in practice the device thread).
class T5Encoder {
 public:
  // Reads every tensor under `scope`; the token table is `shared.weight` or `encoder.embed_tokens.weight`,
  // either or both. Throws weights::LoadError.
  T5Encoder(const T5Config& config, const weights::Scope& scope);
  ~T5Encoder();
  T5Encoder(T5Encoder&&) noexcept;

  // ids: [B, L] int64 on the weights' device, each in [0, vocab_size), any L. No mask: padding is attended
  // to. Returns the last hidden state after the final RMS norm: [B, L, d_model] in the weights' dtype.
  at::Tensor forward(const at::Tensor& ids) const;

  const T5Config& config() const { return config_; }

 private:
  at::Tensor position_bias(const at::Tensor& ids) const;  // ids: [B, L] → [1, H, L, L]

  T5Config config_;
  nn::Embedding shared_;
  nn::Embedding relative_attention_bias_;
  std::vector<T5Block> blocks_;
  nn::RmsNorm final_layer_norm_;
};

}  // namespace diffused::models
