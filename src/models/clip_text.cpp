// Source: huggingface/transformers v5.23.0, src/transformers/models/clip/modeling_clip.py. Inference only; no
// padding mask; a final projection where the checkpoint's class has one.
#include "models/clip_text.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/attention.h"

namespace diffused::models {
namespace {

// The value that eos_token_id has in most published folders, by mistake; transformers gives it a rule of its
// own.
constexpr std::int64_t kWrongEosId = 2;

// transformers 5.6 and later may save CLIPTextModel without the prefix that every older file has.
weights::Scope inside_prefix(const weights::Scope& scope) {
  return scope.contains("embeddings.token_embedding.weight") ? scope : scope / "text_model";
}

}  // namespace

Result<ClipTextConfig> ClipTextConfig::from_json(const boost::json::object& json) {
  // The config of a whole CLIP, of texts and pictures, has that of the texts inside.
  if (const auto* const inside = json.if_contains("text_config"); inside && inside->is_object())
    return from_json(inside->get_object());
  ClipTextConfig c;
  ConfigReader read(json);
  c.vocab_size = read.integer("vocab_size", c.vocab_size);
  c.hidden_size = read.integer("hidden_size", c.hidden_size);
  c.intermediate_size = read.integer("intermediate_size", c.intermediate_size);
  c.projection_dim = read.integer("projection_dim", c.projection_dim);
  c.num_hidden_layers = read.integer("num_hidden_layers", c.num_hidden_layers);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.max_position_embeddings = read.integer("max_position_embeddings", c.max_position_embeddings);
  c.layer_norm_eps = read.number("layer_norm_eps", c.layer_norm_eps);
  c.eos_token_id = read.integer("eos_token_id", c.eos_token_id, /*least=*/0);
  const std::string act = read.text("hidden_act", "quick_gelu");
  if (const auto known = nn::activation_named(act)) {
    c.hidden_act = *known;
  } else {
    read.refuse("hidden_act", fmt::format("names an activation that is not supported: {}", act),
                ErrorCode::unsupported);
  }
  const auto classes = read.texts("architectures");
  c.with_projection = std::ranges::find(classes, "CLIPTextModelWithProjection") != classes.end();
  read.require(c.hidden_size % c.num_attention_heads == 0, "num_attention_heads", "must divide hidden_size");
  return read.finish(c);
}

double ClipTextConfig::flops(std::int64_t tokens) const {
  const double linears = 4.0 * hidden_size * hidden_size + 2.0 * hidden_size * intermediate_size;
  const double scores = 2.0 * tokens * hidden_size;
  return 2.0 * num_hidden_layers * tokens * (linears + scores);
}

const at::Tensor& ClipTextOutput::penultimate(std::int64_t clip_skip) const {
  const std::int64_t index = std::ssize(hidden_states) - 2 - clip_skip;
  CHECK_WITH(clip_skip >= 0 && index >= 0,
             fmt::format("clip_skip {} of {} states", clip_skip, hidden_states.size()));
  return hidden_states[index];
}

// One layer: causal attention, then the perceptron, each on a normalised copy and added back.
class ClipLayer {
 public:
  ClipLayer(const ClipTextConfig& config, const weights::Scope& scope)
      : heads_(config.num_attention_heads),
        act_(config.hidden_act),
        layer_norm1_(scope / "layer_norm1", config.hidden_size, config.layer_norm_eps),
        qkv_(scope / "self_attn", {"q_proj", "k_proj", "v_proj"}, config.hidden_size, config.hidden_size),
        out_proj_(scope / "self_attn" / "out_proj", config.hidden_size, config.hidden_size),
        layer_norm2_(scope / "layer_norm2", config.hidden_size, config.layer_norm_eps),
        fc1_(scope / "mlp" / "fc1", config.hidden_size, config.intermediate_size),
        fc2_(scope / "mlp" / "fc2", config.intermediate_size, config.hidden_size) {}

  // [B, L, hidden_size] → the same
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor attended = out_proj_.add_to(x, self_attention(layer_norm1_(x)));
    return fc2_.add_to(attended, fc1_(layer_norm2_(attended), act_));
  }

 private:
  at::Tensor self_attention(const at::Tensor& x) const {
    const auto qkv = qkv_(x).chunk(3, -1);  // 3 of [B, L, H * D]
    const auto q = nn::split_heads(qkv[0], heads_), k = nn::split_heads(qkv[1], heads_),
               v = nn::split_heads(qkv[2], heads_);  // [B, H, L, D]
    return nn::merge_heads(nn::attention(q, k, v, {.causal = true}));
  }

  std::int64_t heads_;
  nn::Activation act_;
  nn::LayerNorm layer_norm1_;
  nn::Linear qkv_;
  nn::Linear out_proj_;
  nn::LayerNorm layer_norm2_;
  nn::Linear fc1_;
  nn::Linear fc2_;
};

ClipText::ClipText(const ClipTextConfig& config, const weights::Scope& outer)
    : ClipText(config, inside_prefix(outer), outer) {}

ClipText::ClipText(const ClipTextConfig& config, const weights::Scope& scope, const weights::Scope& outer)
    : config_(config),
      token_embedding_(scope / "embeddings.token_embedding", config.vocab_size, config.hidden_size),
      position_embedding_(scope.tensor("embeddings.position_embedding.weight",
                                       {config.max_position_embeddings, config.hidden_size})),
      final_layer_norm_(scope / "final_layer_norm", config.hidden_size, config.layer_norm_eps) {
  for (int i = 0; i < config.num_hidden_layers; ++i)
    layers_.emplace_back(config, scope / "encoder.layers" / i);
  if (config.with_projection) {
    text_projection_.emplace(outer / "text_projection", config.hidden_size, config.projection_dim,
                             /*bias=*/false);
  }
}

ClipText::~ClipText() = default;
ClipText::ClipText(ClipText&&) noexcept = default;

at::Tensor ClipText::embedded(const at::Tensor& ids, const LearnedTokens& learned) const {
  if (!learned.vectors.defined()) return token_embedding_(ids);  // [B, L, hidden]
  const at::Tensor is_learned = ids >= config_.vocab_size;       // [B, L]
  const at::Tensor row = (ids - config_.vocab_size).clamp_min(0);
  const at::Tensor known = token_embedding_(ids.masked_fill(is_learned, 0));
  return at::where(is_learned.unsqueeze(-1), at::embedding(learned.vectors, row), known);
}

ClipTextOutput ClipText::forward(const at::Tensor& ids, const LearnedTokens& learned) const {
  const std::int64_t length = ids.size(1);
  CHECK_WITH(length <= config_.max_position_embeddings,
             fmt::format("{} tokens, {} positions", length, config_.max_position_embeddings));
  ClipTextOutput out;
  out.hidden_states.push_back(embedded(ids, learned) +
                              position_embedding_.narrow(0, 0, length));  // [B, L, hidden]
  for (const ClipLayer& layer : layers_) out.hidden_states.push_back(layer(out.hidden_states.back()));
  out.last_hidden_state = final_layer_norm_(out.hidden_states.back());
  const at::Tensor rows = at::arange(ids.size(0), ids.options());
  const at::Tensor ends =
      eos_positions(learned.may_end ? ids : ids.masked_fill(ids >= config_.vocab_size, 0));
  out.pooled = out.last_hidden_state.index({rows, ends});              // [B, hidden]
  if (text_projection_) out.pooled = (*text_projection_)(out.pooled);  // [B, projection_dim]
  return out;
}

at::Tensor ClipText::eos_positions(const at::Tensor& ids) const {
  const at::Tensor is_eos = config_.eos_token_id == kWrongEosId ? ids == ids.amax(1, /*keepdim=*/true)
                                                                : ids == config_.eos_token_id;  // [B, L]
  // argmax takes any of several equal values; counting down from the end makes the first the only largest.
  const at::Tensor countdown = at::arange(ids.size(1), 0, -1, ids.options());
  return (is_eos * countdown).argmax(1);  // [B]
}

}  // namespace diffused::models
