// Source: huggingface/transformers v5.23.0, src/transformers/models/qwen3/modeling_qwen3.py. Differs: no
// cache, no head; queries and keys are turned in float32, where the original rounds sines and cosines to the
// weights' dtype first. Of Qwen2.5-VL: src/transformers/models/qwen2_5_vl/modeling_qwen2_5_vl.py, the
// decoder.
#include "models/qwen3.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/attention.h"
#include "nn/gated_linear.h"
#include "nn/rotary.h"

namespace diffused::models {
namespace {

// Where the decoder's tensors are.
weights::Scope decoder_scope(const weights::Scope& scope) {
  const weights::Scope inner = scope / "model", innermost = inner / "language_model";
  if (!innermost.empty()) return innermost;
  return inner.empty() ? scope : inner;
}

// Older files tell rope_theta by itself, newer ones among the parameters of the rotation.
double read_rope_theta(ConfigReader& read, const boost::json::object& json, double fallback) {
  const boost::json::value* const given = json.if_contains("rope_parameters");
  if (given == nullptr || !given->is_object()) return read.number("rope_theta", fallback);
  ConfigReader inner(given->get_object());
  const double theta = inner.number("rope_theta", fallback);
  read.require(inner.good(), "rope_parameters", "rope_theta must be a number");
  read.require(inner.text("rope_type", "default") == "default", "rope_parameters",
               "rope_type must be \"default\"");
  return theta;
}

// What the decoders of Qwen2.5 and Qwen3 have in common, but for the width of a head.
void read_decoder(ConfigReader& read, const boost::json::object& json, Qwen3Config& c) {
  c.vocab_size = read.integer("vocab_size", c.vocab_size);
  c.hidden_size = read.integer("hidden_size", c.hidden_size);
  c.intermediate_size = read.integer("intermediate_size", c.intermediate_size);
  c.num_hidden_layers = read.integer("num_hidden_layers", c.num_hidden_layers);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.num_key_value_heads = read.is_null("num_key_value_heads")
                              ? c.num_attention_heads
                              : read.integer("num_key_value_heads", c.num_key_value_heads);
  c.rms_norm_eps = read.number("rms_norm_eps", c.rms_norm_eps);
  c.rope_theta = read_rope_theta(read, json, c.rope_theta);
  read.require(c.rope_theta > 0, "rope_theta", "must be positive");
  read.require(c.num_attention_heads % c.num_key_value_heads == 0, "num_key_value_heads",
               "must divide num_attention_heads");
  read.support(!read.boolean("use_sliding_window", false), "use_sliding_window", "must be false");
  read.support(read.text("hidden_act", "silu") == "silu", "hidden_act", "must be \"silu\"");
}

// [B, K, L, D] → [B, H, L, D]: each head of keys or values for H / K of queries.
at::Tensor repeat_heads(const at::Tensor& x, std::int64_t heads) {
  if (x.size(1) == heads) return x;
  return x.unsqueeze(2).expand({-1, -1, heads / x.size(1), -1, -1}).flatten(1, 2);
}

}  // namespace

Result<Qwen3Config> Qwen3Config::from_json(const boost::json::object& json) {
  Qwen3Config c;
  ConfigReader read(json);
  read_decoder(read, json, c);
  c.head_dim = read.integer("head_dim", c.head_dim);
  read.require(c.head_dim % 2 == 0, "head_dim", "must be even");
  read.support(!read.boolean("attention_bias", false), "attention_bias", "must be false");
  read.support(!read.is_given("rope_scaling"), "rope_scaling", "must be null");
  return read.finish(c);
}

Result<Qwen25VlTextConfig> Qwen25VlTextConfig::from_json(const boost::json::object& json) {
  const boost::json::value* const inner = json.if_contains("text_config");
  const boost::json::object& text = inner != nullptr && inner->is_object() ? inner->get_object() : json;
  Qwen3Config c{.vocab_size = 152064,
                .hidden_size = 8192,
                .intermediate_size = 29568,
                .num_hidden_layers = 80,
                .num_attention_heads = 64,
                .num_key_value_heads = 8,
                .rms_norm_eps = 1e-5,
                .rope_theta = 1e6,
                .head_norms = false};
  ConfigReader read(text);
  read_decoder(read, text, c);
  c.head_dim = c.hidden_size / c.num_attention_heads;
  read.require(c.hidden_size % c.num_attention_heads == 0 && c.head_dim % 2 == 0, "num_attention_heads",
               "must divide hidden_size into even parts");
  if (const auto* const scaling = text.if_contains("rope_scaling"); scaling && scaling->is_object()) {
    ConfigReader kind(scaling->get_object());
    const std::string name = kind.text("rope_type", kind.text("type", "default"));
    read.support(name == "default" || name == "mrope", "rope_scaling", "must be of the kind \"mrope\"");
  }
  return read.finish(Qwen25VlTextConfig{c});
}

double Qwen3Config::flops(std::int64_t tokens) const {
  const double queries = static_cast<double>(num_attention_heads) * head_dim;
  const double keys = static_cast<double>(num_key_value_heads) * head_dim;
  const double linears = hidden_size * (2 * queries + 2 * keys) + 3.0 * hidden_size * intermediate_size;
  const double scores = 2.0 * tokens * queries;
  return 2.0 * layers_run() * tokens * (linears + scores);
}

// What all layers of one pass share.
struct Qwen3Pass {
  nn::Rotation rotation;       // of L tokens
  nn::AttentionOptions sight;  // which tokens a token sees
};

// One layer: attention, then the perceptron, each of a norm of what it is added to.
class Qwen3Layer {
 public:
  Qwen3Layer(const Qwen3Config& config, const weights::Scope& scope)
      : heads_(config.num_attention_heads),
        key_heads_(config.num_key_value_heads),
        input_layernorm_(scope / "input_layernorm", config.hidden_size, config.rms_norm_eps),
        q_proj_(scope / "self_attn.q_proj", config.hidden_size, heads_ * config.head_dim, !config.head_norms),
        kv_proj_(scope / "self_attn", {"k_proj", "v_proj"}, config.hidden_size, key_heads_ * config.head_dim,
                 !config.head_norms),
        o_proj_(scope / "self_attn.o_proj", heads_ * config.head_dim, config.hidden_size, false),
        post_attention_layernorm_(scope / "post_attention_layernorm", config.hidden_size,
                                  config.rms_norm_eps),
        gated_up_proj_(scope / "mlp", "up_proj", "gate_proj", config.hidden_size, config.intermediate_size,
                       nn::Activation::silu),
        down_proj_(scope / "mlp.down_proj", config.intermediate_size, config.hidden_size, false) {
    if (!config.head_norms) return;
    q_norm_.emplace(scope / "self_attn.q_norm", config.head_dim, config.rms_norm_eps);
    k_norm_.emplace(scope / "self_attn.k_norm", config.head_dim, config.rms_norm_eps);
  }

  // x: [1, L, hidden_size] → the same
  at::Tensor operator()(const at::Tensor& x, const Qwen3Pass& pass) const {
    const at::Tensor attended = o_proj_.add_to(x, attention(input_layernorm_(x), pass));
    return down_proj_.add_to(attended, gated_up_proj_(post_attention_layernorm_(attended)));
  }

 private:
  at::Tensor attention(const at::Tensor& x, const Qwen3Pass& pass) const {
    const auto kv = kv_proj_(x).chunk(2, -1);                  // 2 of [1, L, K * D]
    const at::Tensor q = nn::split_heads(q_proj_(x), heads_);  // [1, H, L, D]
    const at::Tensor k = nn::split_heads(kv[0], key_heads_);   // [1, K, L, D]
    const at::Tensor v = nn::split_heads(kv[1], key_heads_);   // [1, K, L, D]
    const at::Tensor turned_q = nn::rotate_halves(q_norm_ ? (*q_norm_)(q) : q, pass.rotation);
    const at::Tensor turned_k = nn::rotate_halves(k_norm_ ? (*k_norm_)(k) : k, pass.rotation);
    return nn::merge_heads(nn::attention(turned_q, repeat_heads(turned_k, heads_), repeat_heads(v, heads_),
                                         pass.sight));  // [1, L, H * D]
  }

  std::int64_t heads_, key_heads_;
  nn::RmsNorm input_layernorm_;
  nn::Linear q_proj_;
  nn::Linear kv_proj_;
  std::optional<nn::RmsNorm> q_norm_, k_norm_;
  nn::Linear o_proj_;
  nn::RmsNorm post_attention_layernorm_;
  nn::GatedLinear gated_up_proj_;
  nn::Linear down_proj_;
};

Qwen3::Qwen3(const Qwen3Config& config, const weights::Scope& scope)
    : config_(config),
      embed_tokens_(decoder_scope(scope) / "embed_tokens", config.vocab_size, config.hidden_size) {
  CHECK(std::ranges::is_sorted(config.taps) && config.layers_run() <= config.num_hidden_layers);
  const weights::Scope decoder = decoder_scope(scope);
  for (const char* const unused : {"lm_head", "visual", "model.visual"}) (scope / unused).leave_out();
  for (int i = 0; i < config.num_hidden_layers; ++i) {
    const weights::Scope layer = decoder / "layers" / i;
    if (i < config.layers_run()) {
      layers_.emplace_back(config, layer);
    } else {
      layer.leave_out();
    }
  }
  if (config.layers_run() == config.num_hidden_layers) {
    norm_.emplace(decoder / "norm", config.hidden_size, config.rms_norm_eps);
  } else {
    (decoder / "norm").leave_out();
  }
}

Qwen3::~Qwen3() = default;
Qwen3::Qwen3(Qwen3&&) noexcept = default;

at::Tensor Qwen3::run(const at::Tensor& vectors, std::int64_t real) const {
  const std::int64_t length = vectors.size(1);
  Qwen3Pass pass;
  pass.rotation = nn::rotation_of_halves(length, config_.head_dim, config_.rope_theta, vectors.device());
  if (real >= length) {
    pass.sight.causal = true;
  } else {
    const at::Tensor place = at::arange(length, vectors.options().dtype(at::kLong));
    const at::Tensor hidden = (place.unsqueeze(0) > place.unsqueeze(1)) | (place >= real);
    pass.sight.bias = at::where(hidden, at::Scalar(-INFINITY), at::Scalar(0.0));  // [query, key]
  }
  at::Tensor x = vectors;  // [1, L, hidden_size]
  std::vector<at::Tensor> states;
  for (std::int64_t layer = 1; layer <= config_.layers_run(); ++layer) {
    x = layers_[static_cast<std::size_t>(layer - 1)](x, pass);
    if (!std::ranges::binary_search(config_.taps, layer)) continue;
    states.push_back(layer == config_.num_hidden_layers ? (*norm_)(x) : x);
  }
  return at::cat(states, -1);  // [1, L, taps * hidden_size]
}

}  // namespace diffused::models
