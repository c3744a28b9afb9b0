// Qwen3's decoder (transformers' Qwen3Model) as an encoder of prompts: the states of some of its layers. No
// words are made, so that the layers behind the last one that is asked for are never read. Qwen2.5-VL's, for
// texts, is the same with biases in place of norms.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "nn/embedding.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of text_encoder/config.json that shape the network; the defaults are those of transformers'
// Qwen3Config, which are no published model's.
struct Qwen3Config {
  std::int64_t vocab_size = 151936;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 22016;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;  // each serves as many heads of queries
  std::int64_t head_dim = 128;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  bool head_norms = true;  // of queries and keys; else queries, keys and values have biases
  // Not in config.json: after which layers the states are wanted, ascending, each from 1 to
  // num_hidden_layers. After the last layer of all they are normed, as in transformers' hidden_states.
  std::vector<std::int64_t> taps = {};

  // Unknown keys are ignored. Error: invalid_argument, or unsupported for biases, windows, another activation
  // or another kind of rotation; `field` is the key.
  static Result<Qwen3Config> from_json(const boost::json::object& json);

  bool operator==(const Qwen3Config&) const = default;

  std::int64_t layers_run() const { return taps.empty() ? 0 : taps.back(); }
  // Of one token's state of all taps.
  std::int64_t state_size() const { return static_cast<std::int64_t>(taps.size()) * hidden_size; }
  // Multiply-adds counted twice, for one sequence of `tokens`.
  double flops(std::int64_t tokens) const;
};

// What text_encoder/config.json of a Qwen2.5-VL says of its decoder; its rotation tells three positions,
// which in a text are one.
struct Qwen25VlTextConfig {
  Qwen3Config decoder;

  // Older files tell it at the top, newer ones in "text_config"; what is absent are the defaults of
  // transformers' Qwen2_5_VLTextConfig. Errors as Qwen3Config::from_json.
  static Result<Qwen25VlTextConfig> from_json(const boost::json::object& json);
};

class Qwen3Layer;

// Immutable once built; const methods from any thread (in practice the device thread).
class Qwen3 {
 public:
  // Reads the layers up to the last tap, under `scope`, or under "model" in it, as Qwen3ForCausalLM has them,
  // or under "model.language_model", as newer files of Qwen2.5-VL have them; not what is for pictures. Throws
  // weights::LoadError.
  Qwen3(const Qwen3Config& config, const weights::Scope& scope);
  ~Qwen3();
  Qwen3(Qwen3&&) noexcept;

  // ids: [1, L] int64 on the weights' device, each in [0, vocab_size). A token sees those before it and
  // itself; of the tokens behind the first `real`, which are padding, nobody sees anything, themselves
  // included. Returns the states of all taps side by side, [1, L, state_size()] in the weights' dtype.
  at::Tensor forward(const at::Tensor& ids, std::int64_t real) const { return run(embed(ids), real); }

  // The two halves of it, for whoever has vectors of other things than words. ids → [1, L, hidden_size].
  at::Tensor embed(const at::Tensor& ids) const { return embed_tokens_(ids); }
  at::Tensor run(const at::Tensor& vectors, std::int64_t real) const;

  const Qwen3Config& config() const { return config_; }

 private:
  Qwen3Config config_;
  nn::Embedding embed_tokens_;
  std::vector<Qwen3Layer> layers_;
  std::optional<nn::RmsNorm> norm_;
};

}  // namespace diffused::models
