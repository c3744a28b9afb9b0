// Source: huggingface/transformers v5.23.0, src/transformers/models/t5/modeling_t5.py, the encoder. No mask,
// no dropout. Differs: "wo" keeps the dtype of the other weights, so float16 would overflow; load in float32
// or bfloat16.
#include "models/t5.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/config_reader.h"
#include "nn/attention.h"
#include "nn/gated_linear.h"

namespace diffused::models {
namespace {

// Both names may be there; they are one tensor in the original.
weights::Scope token_table(const weights::Scope& scope) {
  return scope.contains("shared.weight") ? scope / "shared" : scope / "encoder.embed_tokens";
}

}  // namespace

Result<T5Config> T5Config::from_json(const boost::json::object& json) {
  T5Config c;
  ConfigReader read(json);
  c.vocab_size = read.integer("vocab_size", c.vocab_size);
  c.d_model = read.integer("d_model", c.d_model);
  c.d_kv = read.integer("d_kv", c.d_kv);
  c.d_ff = read.integer("d_ff", c.d_ff);
  c.num_layers = read.integer("num_layers", c.num_layers);
  c.num_heads = read.integer("num_heads", c.num_heads);
  c.relative_attention_num_buckets =
      read.integer("relative_attention_num_buckets", c.relative_attention_num_buckets, /*least=*/4);
  c.relative_attention_max_distance =
      read.integer("relative_attention_max_distance", c.relative_attention_max_distance);
  c.layer_norm_epsilon = read.number("layer_norm_epsilon", c.layer_norm_epsilon);
  const std::string projection = read.text("feed_forward_proj", "relu");
  constexpr std::string_view kGated = "gated-";
  c.gated = projection.starts_with(kGated);
  const std::string act = c.gated ? projection.substr(kGated.size()) : projection;
  if (projection == "gated-gelu") {
    c.activation = nn::Activation::gelu_tanh;
  } else if (const auto known = nn::activation_named(act)) {
    c.activation = *known;
  } else {
    read.refuse("feed_forward_proj", fmt::format("names an activation that is not supported: {}", projection),
                ErrorCode::unsupported);
  }
  read.require(c.relative_attention_num_buckets % 4 == 0, "relative_attention_num_buckets",
               "must be a multiple of 4");
  read.require(c.relative_attention_max_distance > c.relative_attention_num_buckets / 4,
               "relative_attention_max_distance",
               "must be more than a quarter of relative_attention_num_buckets");
  return read.finish(c);
}

double T5Config::flops(std::int64_t tokens) const {
  const double inner = static_cast<double>(num_heads) * d_kv;
  const double linears = 4.0 * d_model * inner + (gated ? 3.0 : 2.0) * d_model * d_ff;
  const double scores = 2.0 * tokens * inner;
  return 2.0 * num_layers * tokens * (linears + scores);
}

// One block: attention without scale on the scores, then the perceptron; the tensors' names are T5's own.
class T5Block {
 public:
  T5Block(const T5Config& config, const weights::Scope& scope)
      : heads_(config.num_heads),
        activation_(config.activation),
        attention_norm_(scope / "layer.0.layer_norm", config.d_model, config.layer_norm_epsilon),
        qkv_(scope / "layer.0.SelfAttention", {"q", "k", "v"}, config.d_model, config.num_heads * config.d_kv,
             false),
        o_(scope / "layer.0.SelfAttention.o", config.num_heads * config.d_kv, config.d_model, false),
        feed_forward_norm_(scope / "layer.1.layer_norm", config.d_model, config.layer_norm_epsilon),
        wo_(scope / "layer.1.DenseReluDense.wo", config.d_ff, config.d_model, false) {
    const weights::Scope perceptron = scope / "layer.1.DenseReluDense";
    if (config.gated) {
      gated_wi_.emplace(perceptron, "wi_1", "wi_0", config.d_model, config.d_ff, config.activation);
    } else {
      wi_.emplace(perceptron / "wi", config.d_model, config.d_ff, false);
    }
  }

  // x: [B, L, d_model]; position_bias: [1, H, L, L] → [B, L, d_model]
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& position_bias) const {
    const at::Tensor attended = o_.add_to(x, self_attention(attention_norm_(x), position_bias));
    const at::Tensor normal = feed_forward_norm_(attended);
    return wo_.add_to(attended, gated_wi_ ? (*gated_wi_)(normal) : (*wi_)(normal, activation_));
  }

 private:
  at::Tensor self_attention(const at::Tensor& x, const at::Tensor& position_bias) const {
    const auto qkv = qkv_(x).chunk(3, -1);  // 3 of [B, L, H * D]
    const auto q = nn::split_heads(qkv[0], heads_), k = nn::split_heads(qkv[1], heads_),
               v = nn::split_heads(qkv[2], heads_);  // [B, H, L, D]
    return nn::merge_heads(nn::attention(q, k, v, {.scale = 1.0, .bias = position_bias}));
  }

  std::int64_t heads_;
  nn::Activation activation_;
  nn::RmsNorm attention_norm_;
  nn::Linear qkv_;
  nn::Linear o_;
  nn::RmsNorm feed_forward_norm_;
  std::optional<nn::Linear> wi_;  // one of the two
  std::optional<nn::GatedLinear> gated_wi_;
  nn::Linear wo_;
};

T5Encoder::T5Encoder(const T5Config& config, const weights::Scope& scope)
    : config_(config),
      shared_(token_table(scope), config.vocab_size, config.d_model),
      relative_attention_bias_(scope / "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
                               config.relative_attention_num_buckets, config.num_heads),
      final_layer_norm_(scope / "encoder.final_layer_norm", config.d_model, config.layer_norm_epsilon) {
  for (int i = 0; i < config.num_layers; ++i) blocks_.emplace_back(config, scope / "encoder.block" / i);
}

T5Encoder::~T5Encoder() = default;
T5Encoder::T5Encoder(T5Encoder&&) noexcept = default;

at::Tensor T5Encoder::forward(const at::Tensor& ids) const {
  const at::Tensor bias = position_bias(ids);
  at::Tensor x = shared_(ids);  // [B, L, d_model]
  for (const T5Block& block : blocks_) x = block(x, bias);
  return final_layer_norm_(x);
}

at::Tensor T5Encoder::position_bias(const at::Tensor& ids) const {
  // Half of the buckets for keys behind the query, half for keys ahead; of each half the first half counts
  // tokens one by one, the rest grows with the logarithm of the distance up to the maximum.
  const std::int64_t side = config_.relative_attention_num_buckets / 2;
  const std::int64_t exact = side / 2;
  const at::Tensor position = at::arange(ids.size(1), ids.options());
  const at::Tensor offset = position.unsqueeze(0) - position.unsqueeze(1);  // [query, key]
  const at::Tensor distance = offset.abs();
  const double log_range = std::log(static_cast<double>(config_.relative_attention_max_distance) / exact);
  const at::Tensor far =
      (at::log(distance.to(at::kFloat) / exact) / log_range * (side - exact)).clamp_min(0).to(at::kLong) +
      exact;
  const at::Tensor bucket =
      at::where(distance < exact, distance, far.clamp_max(side - 1)) + (offset > 0) * side;
  return relative_attention_bias_(bucket).permute({2, 0, 1}).unsqueeze(0);  // [1, H, L, L]
}

}  // namespace diffused::models
