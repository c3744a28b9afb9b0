// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_sd3.py and
// models/attention.py (JointTransformerBlock, JointAttnProcessor2_0, AdaLayerNormZero,
// SD35AdaLayerNormZeroX). Differs: the adaLN linears of all blocks run before the first block; the last block
// computes nothing for text that nobody reads; no ControlNet, LoRA or IP-adapter.
#include "models/mmdit.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/feed_forward.h"
#include "nn/modulation.h"
#include "nn/qkv_projection.h"

namespace diffused::models {
namespace {

constexpr double kMmditNormEps = 1e-6;

}  // namespace

Result<MmditConfig> MmditConfig::from_json(const boost::json::object& json) {
  MmditConfig c;
  ConfigReader read(json);
  c.sample_size = read.integer("sample_size", c.sample_size);
  c.patch_size = read.integer("patch_size", c.patch_size);
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.num_layers = read.integer("num_layers", c.num_layers);
  c.attention_head_dim = read.integer("attention_head_dim", c.attention_head_dim);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.joint_attention_dim = read.integer("joint_attention_dim", c.joint_attention_dim);
  c.pooled_projection_dim = read.integer("pooled_projection_dim", c.pooled_projection_dim);
  c.out_channels =
      read.is_null("out_channels") ? c.in_channels : read.integer("out_channels", c.out_channels);
  c.pos_embed_max_size = read.integer("pos_embed_max_size", c.pos_embed_max_size);
  c.dual_attention_layers = read.integers("dual_attention_layers", {}, /*least=*/0);
  const std::int64_t caption_projection_dim = read.integer("caption_projection_dim", 1152);
  read.require(caption_projection_dim == c.inner_dim(), "caption_projection_dim",
               fmt::format("must be num_attention_heads * attention_head_dim = {}", c.inner_dim()));
  const std::string qk_norm = read.text("qk_norm", "");
  c.rms_qk_norm = qk_norm == "rms_norm";
  if (!qk_norm.empty() && !c.rms_qk_norm) {
    read.refuse("qk_norm", fmt::format("names a norm that is not supported: {}", qk_norm),
                ErrorCode::unsupported);
  }
  return read.finish(c);
}

double MmditConfig::flops(std::int64_t image_tokens, std::int64_t text_tokens) const {
  const double d = inner_dim(), image = image_tokens, text = text_tokens;
  const double dual = std::ssize(dual_attention_layers);
  const double token_linears = 12 * d * d * (num_layers * (image + text) - text) + 4 * d * d * dual * image;
  const double scores = 2 * d * (num_layers * (image + text) * (image + text) + dual * image * image);
  const double adaln = d * d * (12.0 * num_layers - 4 + 3 * dual + 2);
  const double ends = image * d * patch_size * patch_size * (in_channels + out_channels);
  return 2 * (token_linears + scores + adaln + ends);
}

using nn::Heads;
using nn::QkvProjection;

nn::QkvForm qkv_form(const MmditConfig& config) {
  return {.heads = config.num_attention_heads,
          .head_dim = config.attention_head_dim,
          .rms_norm_eps = config.rms_qk_norm ? std::optional(kMmditNormEps) : std::nullopt,
          .format = config.block_format};
}

// The linear that attention ends with.
nn::Linear output_linear(const MmditConfig& config, const weights::Scope& scope) {
  return {scope, config.inner_dim(), config.inner_dim(), /*bias=*/true, config.block_format};
}

// Attention of the image tokens among themselves: the second attention of SD3.5-medium's first blocks.
class SelfAttention {
 public:
  SelfAttention(const MmditConfig& config, const weights::Scope& scope)
      : qkv_(scope, qkv_form(config), nn::kQkvNames), to_out_(output_linear(config, scope / "to_out.0")) {}

  at::Tensor operator()(const at::Tensor& x) const {  // [B, N, D] → the same, before to_out
    const Heads h = qkv_(x);
    return nn::merge_heads(nn::attention(h.q, h.k, h.v));
  }
  const nn::Linear& to_out() const { return to_out_; }

 private:
  QkvProjection qkv_;
  nn::Linear to_out_;
};

// Attention of image and text tokens together, image first. In the last block the text only serves as keys
// and values.
class JointAttention {
 public:
  JointAttention(const MmditConfig& config, const weights::Scope& scope, bool last)
      : qkv_(scope, qkv_form(config), nn::kQkvNames),
        added_qkv_(scope, qkv_form(config), nn::kAddedQkvNames),
        to_out_(output_linear(config, scope / "to_out.0")) {
    if (!last) to_add_out_.emplace(output_linear(config, scope / "to_add_out"));
  }

  // x: [B, N, D]; c: [B, T, D]; key_bias: [N + T] or undefined → the same two, before to_out and to_add_out;
  // the second undefined in the last block
  std::pair<at::Tensor, at::Tensor> operator()(const at::Tensor& x, const at::Tensor& c,
                                               const at::Tensor& key_bias) const {
    const Heads image = qkv_(x), text = added_qkv_(c);
    const at::Tensor q = to_add_out_ ? at::cat({image.q, text.q}, 2) : image.q;  // [B, H, N + T, head_dim]
    const at::Tensor k = at::cat({image.k, text.k}, 2);
    const at::Tensor v = at::cat({image.v, text.v}, 2);
    const at::Tensor y = nn::merge_heads(nn::attention(q, k, v, {.bias = key_bias}));  // [B, N + T, D]
    const std::int64_t image_tokens = x.size(1);
    return {y.narrow(1, 0, image_tokens), to_add_out_ ? y.narrow(1, image_tokens, c.size(1)) : at::Tensor()};
  }
  const nn::Linear& to_out() const { return to_out_; }
  const nn::Linear& to_add_out() const { return *to_add_out_; }

 private:
  QkvProjection qkv_;
  QkvProjection added_qkv_;
  nn::Linear to_out_;
  std::optional<nn::Linear> to_add_out_;
};

// One block of the figure. `norm1` and `norm1_context` are linears of the conditioning whose outputs are this
// block's share of the modulations, laid side by side.
class JointTransformerBlock {
 public:
  JointTransformerBlock(const MmditConfig& config, const weights::Scope& scope, bool dual, bool last)
      : norm1_(scope / "norm1.linear", config.inner_dim(), (dual ? 9 : 6) * config.inner_dim()),
        norm1_context_(scope / "norm1_context.linear", config.inner_dim(),
                       (last ? 2 : 6) * config.inner_dim()),
        attn_(config, scope / "attn", last),
        ff_(scope / "ff", config.inner_dim(), config.block_format),
        chunks_((dual ? 9 : 6) + (last ? 2 : 6)),
        last_(last) {
    if (dual) attn2_.emplace(config, scope / "attn2");
    if (!last) ff_context_.emplace(scope / "ff_context", config.inner_dim(), config.block_format);
  }

  // How many vectors of D the block's modulation holds.
  std::int64_t modulation_chunks() const { return chunks_; }

  // conditioning: SiLU of the embedding, [R, D] → 2 of [R, some D]
  std::array<at::Tensor, 2> modulation(const at::Tensor& conditioning) const {
    return {norm1_(conditioning), norm1_context_(conditioning)};
  }

  // x: image tokens [B, N, D]; c: text tokens [B, T, D]; modulation: [B, modulation_chunks() * D]; both
  // streams are replaced, c stays as it is in the last block.
  void operator()(at::Tensor& x, at::Tensor& c, const at::Tensor& modulation,
                  const at::Tensor& key_bias) const {
    const auto m =
        modulation.chunk(chunks_, 1);  // of [B, D]: shift, scale, gate of attention; the same of the MLP
    const at::Tensor* mc = m.data() + (attn2_ ? 9 : 6);
    // The last block's text has a scale and a shift, in this order, and no more.
    const at::Tensor cn = last_ ? nn::modulated_layer_norm(c, mc[1], mc[0], kMmditNormEps)
                                : nn::modulated_layer_norm(c, mc[0], mc[1], kMmditNormEps);
    const auto [attended, attended_context] =
        attn_(nn::modulated_layer_norm(x, m[0], m[1], kMmditNormEps), cn, key_bias);
    const at::Tensor x_before = x;
    x = attn_.to_out().add_to(x, attended, m[2]);
    if (attn2_) {
      const at::Tensor attended2 = (*attn2_)(nn::modulated_layer_norm(x_before, m[6], m[7], kMmditNormEps));
      x = attn2_->to_out().add_to(x, attended2, m[8]);
    }
    x = ff_.add_to(x, nn::modulated_layer_norm(x, m[3], m[4], kMmditNormEps), m[5]);
    if (last_) return;
    c = attn_.to_add_out().add_to(c, attended_context, mc[2]);
    c = ff_context_->add_to(c, nn::modulated_layer_norm(c, mc[3], mc[4], kMmditNormEps), mc[5]);
  }

 private:
  nn::Linear norm1_;
  nn::Linear norm1_context_;
  JointAttention attn_;
  std::optional<SelfAttention> attn2_;
  nn::FeedForward ff_;
  std::optional<nn::FeedForward> ff_context_;
  std::int64_t chunks_;
  bool last_;
};

Mmdit::Mmdit(const MmditConfig& config, const weights::Scope& scope)
    : config_(config),
      pos_embed_(scope / "pos_embed",
                 {config.patch_size, config.in_channels, config.inner_dim(), config.pos_embed_max_size}),
      time_text_embed_(scope / "time_text_embed", config.pooled_projection_dim, config.inner_dim()),
      context_embedder_(scope / "context_embedder", config.joint_attention_dim, config.inner_dim()),
      norm_out_(scope / "norm_out.linear", config.inner_dim(), 2 * config.inner_dim()),
      proj_out_(scope / "proj_out", config.inner_dim(),
                config.patch_size * config.patch_size * config.out_channels) {
  for (int i = 0; i < config.num_layers; ++i) {
    const bool dual = std::ranges::count(config.dual_attention_layers, i) > 0;
    transformer_blocks_.emplace_back(config, scope / "transformer_blocks" / i, dual,
                                     i == config.num_layers - 1);
  }
}

Mmdit::~Mmdit() = default;
Mmdit::Mmdit(Mmdit&&) noexcept = default;

at::Tensor Mmdit::embed_context(const at::Tensor& text) const { return context_embedder_(text); }

at::Tensor Mmdit::modulations(const at::Tensor& timesteps, const at::Tensor& pooled) const {
  const at::Tensor embedding = time_text_embed_(timesteps, pooled);  // [R, D]
  const at::Tensor conditioning = nn::activate(nn::Activation::silu, embedding);
  std::vector<at::Tensor> parts;
  for (const auto& block : transformer_blocks_) {
    for (auto& part : block.modulation(conditioning)) parts.push_back(std::move(part));
  }
  parts.push_back(norm_out_(conditioning));
  return at::cat(parts, 1);  // [R, all chunks * D]
}

at::Tensor Mmdit::forward(const at::Tensor& latents, const MmditContext& context,
                          const at::Tensor& modulations, std::span<const std::int64_t> skip_layers) const {
  at::Tensor x = pos_embed_(latents);  // [B, N, D]
  at::Tensor c = context.tokens;       // [B, T, D]
  at::Tensor key_bias;
  if (context.repeats.defined())
    key_bias = at::constant_pad_nd(context.repeats.log(), {x.size(1), 0});  // [N + T]
  std::int64_t chunk = 0;
  const auto next_modulation = [&](std::int64_t chunks) {
    const std::int64_t d = config_.inner_dim(), begin = std::exchange(chunk, chunk + chunks);
    return modulations.narrow(1, begin * d, chunks * d);  // [B, chunks * D]
  };
  for (std::size_t i = 0; i < transformer_blocks_.size(); ++i) {
    const auto& block = transformer_blocks_[i];
    const at::Tensor modulation = next_modulation(block.modulation_chunks());
    if (std::ranges::count(skip_layers, i) == 0) block(x, c, modulation, key_bias);
  }
  const auto scale_shift = next_modulation(2).chunk(2, 1);  // 2 of [B, D]
  x = proj_out_(nn::modulated_layer_norm(x, scale_shift[1], scale_shift[0], kMmditNormEps));
  return unpatchify(x, latents.size(2), latents.size(3));
}

at::Tensor Mmdit::unpatchify(const at::Tensor& x, std::int64_t latent_h, std::int64_t latent_w) const {
  const std::int64_t patch = config_.patch_size, rows = latent_h / patch, columns = latent_w / patch;
  return x.view({x.size(0), rows, columns, patch, patch, config_.out_channels})
      .permute({0, 5, 1, 3, 2, 4})  // [B, out, rows, patch, columns, patch]
      .reshape({x.size(0), config_.out_channels, latent_h, latent_w});
}

}  // namespace diffused::models
