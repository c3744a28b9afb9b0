// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_flux2.py. Differs: the
// modulations of all steps are computed before the first; the last block computes nothing for tokens that
// nobody reads; to_out of a single-stream block is two linears, so that nothing is laid side by side for it;
// no cache of references' keys.
#include "models/flux2_transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "models/config_reader.h"
#include "models/double_stream.h"
#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/modulation.h"
#include "nn/norm.h"
#include "nn/qkv_projection.h"

namespace diffused::models {
namespace {

constexpr double kFlux2Timesteps = 1000;  // timesteps and guidance are told in thousandths

nn::QkvForm qkv_form(const Flux2TransformerConfig& config) {
  return {.heads = config.num_attention_heads,
          .head_dim = config.attention_head_dim,
          .rms_norm_eps = config.eps,
          .format = config.block_format,
          .bias = false};
}

// A linear without bias of a block.
nn::Linear block_linear(const Flux2TransformerConfig& config, const weights::Scope& scope, std::int64_t in,
                        std::int64_t out) {
  return {scope, in, out, /*bias=*/false, config.block_format};
}

// [.., 2 H], gates before values → [.., H]
at::Tensor swiglu(const at::Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return nn::activate(nn::Activation::silu, halves[0]) * halves[1];
}

}  // namespace

Result<Flux2TransformerConfig> Flux2TransformerConfig::from_json(const boost::json::object& json) {
  Flux2TransformerConfig c;
  ConfigReader read(json);
  if (read.integer("patch_size", 1) != 1) {
    read.refuse("patch_size", "must be 1: FLUX.2 packs its latents before the network",
                ErrorCode::unsupported);
  }
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.out_channels = read.is_null("out_channels") ? c.in_channels : read.integer("out_channels", c.in_channels);
  c.num_layers = read.integer("num_layers", c.num_layers, /*least=*/0);
  c.num_single_layers = read.integer("num_single_layers", c.num_single_layers, /*least=*/1);
  c.attention_head_dim = read.integer("attention_head_dim", c.attention_head_dim);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.joint_attention_dim = read.integer("joint_attention_dim", c.joint_attention_dim);
  c.timestep_guidance_channels = read.integer("timestep_guidance_channels", c.timestep_guidance_channels);
  c.mlp_ratio = read.number("mlp_ratio", c.mlp_ratio);
  c.eps = read.number("eps", c.eps);
  c.rope_theta = read.number("rope_theta", c.rope_theta);
  c.guidance_embeds = read.boolean("guidance_embeds", c.guidance_embeds);
  read.require(c.mlp_ratio > 0, "mlp_ratio", "must be positive");
  read.require(c.rope_theta > 0, "rope_theta", "must be positive");
  read.require(c.timestep_guidance_channels % 2 == 0, "timestep_guidance_channels", "must be even");
  read.even_parts("axes_dims_rope", c.axes_dims_rope, "attention_head_dim", c.attention_head_dim);
  return read.finish(c);
}

double Flux2TransformerConfig::flops(std::int64_t image_tokens, std::int64_t text_tokens) const {
  const double d = inner_dim(), hidden = hidden_dim(), tokens = image_tokens + text_tokens;
  const double block = tokens * d * (4 * d + 3 * hidden) + 2 * d * tokens * tokens;
  const double ends = d * image_tokens * (in_channels + out_channels);
  return 2 * ((num_layers + num_single_layers) * block + 17 * d * d + ends);
}

// A block with a stream each for image and text, whose modulations are twice shift, scale and gate.
class Flux2DoubleBlock {
 public:
  static constexpr std::int64_t kChunks = 6;  // of each stream

  Flux2DoubleBlock(const Flux2TransformerConfig& config, const weights::Scope& scope)
      : eps_(config.eps),
        attn_(qkv_form(config), scope / "attn"),
        ff_in_(block_linear(config, scope / "ff.linear_in", config.inner_dim(), 2 * config.hidden_dim())),
        ff_out_(block_linear(config, scope / "ff.linear_out", config.hidden_dim(), config.inner_dim())),
        ff_context_in_(block_linear(config, scope / "ff_context.linear_in", config.inner_dim(),
                                    2 * config.hidden_dim())),
        ff_context_out_(
            block_linear(config, scope / "ff_context.linear_out", config.hidden_dim(), config.inner_dim())) {}

  // x: image tokens [B, N, D]; c: text tokens [B, T, D]; both are replaced. modulations: [B, kChunks * D]
  // each.
  void operator()(at::Tensor& x, at::Tensor& c, const at::Tensor& modulation_x,
                  const at::Tensor& modulation_c, const DoubleStreamRotation& rotation) const {
    const auto m = modulation_x.chunk(kChunks, 1), mc = modulation_c.chunk(kChunks, 1);  // of [B, D]
    const auto [attended, attended_context] =
        attn_(nn::modulated_layer_norm(x, m[0], m[1], eps_), nn::modulated_layer_norm(c, mc[0], mc[1], eps_),
              rotation);
    x = attn_.to_out().add_to(x, attended, m[2]);
    x = ff_out_.add_to(x, swiglu(ff_in_(nn::modulated_layer_norm(x, m[3], m[4], eps_))), m[5]);
    c = attn_.to_add_out().add_to(c, attended_context, mc[2]);
    c = ff_context_out_.add_to(c, swiglu(ff_context_in_(nn::modulated_layer_norm(c, mc[3], mc[4], eps_))),
                               mc[5]);
  }

 private:
  double eps_;
  DoubleStreamAttention attn_;
  nn::Linear ff_in_, ff_out_, ff_context_in_, ff_context_out_;
};

// A block with one stream, in which attention and perceptron work side by side on the same tokens.
class Flux2SingleBlock {
 public:
  static constexpr std::int64_t kChunks = 3;  // shift, scale and gate

  Flux2SingleBlock(const Flux2TransformerConfig& config, const weights::Scope& scope)
      : Flux2SingleBlock(
            config, scope / "attn",
            (scope / "attn.to_out")
                .tensor("weight", {config.inner_dim(), config.inner_dim() + config.hidden_dim()})) {}

  // x: [B, L, D], text before image; modulation: [B, kChunks * D]; rotation: of all tokens. Only those from
  // `first` on, `kept` of them, are computed, [B, kept, D]; the others serve as keys and values.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& modulation, const nn::Rotation& rotation,
                        std::int64_t first, std::int64_t kept) const {
    const auto m = modulation.chunk(kChunks, 1);  // of [B, D]
    const auto wide = qkv_mlp_(nn::modulated_layer_norm(x, m[0], m[1], eps_))
                          .split_with_sizes({inner_dim_, inner_dim_, inner_dim_, 2 * hidden_dim_}, -1);
    const at::Tensor q = norm_q_.rotated(nn::split_heads(wide[0], heads_), rotation);  // [B, H, L, head_dim]
    const at::Tensor k = norm_k_.rotated(nn::split_heads(wide[1], heads_), rotation);
    const at::Tensor v = nn::split_heads(wide[2], heads_);
    const at::Tensor attended = nn::merge_heads(nn::attention(q.narrow(2, first, kept), k, v));
    const at::Tensor y = out_attended_.add_to(x.narrow(1, first, kept), attended, m[2]);
    return out_hidden_.add_to(y, swiglu(wide[3].narrow(1, first, kept)), m[2]);
  }

 private:
  // to_out: [D, D + hidden], of [attended, hidden].
  Flux2SingleBlock(const Flux2TransformerConfig& config, const weights::Scope& attn, const at::Tensor& to_out)
      : eps_(config.eps),
        heads_(config.num_attention_heads),
        inner_dim_(config.inner_dim()),
        hidden_dim_(config.hidden_dim()),
        qkv_mlp_(
            block_linear(config, attn / "to_qkv_mlp_proj", inner_dim_, 3 * inner_dim_ + 2 * hidden_dim_)),
        norm_q_(attn / "norm_q", config.attention_head_dim, config.eps),
        norm_k_(attn / "norm_k", config.attention_head_dim, config.eps),
        out_attended_(to_out.narrow(1, 0, inner_dim_).contiguous(), {}, config.block_format,
                      {.names = {(attn / "to_out").changeable_layer()}}),
        out_hidden_(to_out.narrow(1, inner_dim_, hidden_dim_).contiguous(), {}, config.block_format,
                    {.names = {(attn / "to_out").changeable_layer()}, .first_input = inner_dim_}) {}

  double eps_;
  std::int64_t heads_, inner_dim_, hidden_dim_;
  nn::Linear qkv_mlp_;
  nn::RmsNorm norm_q_, norm_k_;
  nn::Linear out_attended_, out_hidden_;
};

Flux2Transformer::Flux2Transformer(const Flux2TransformerConfig& config, const weights::Scope& scope)
    : config_(config),
      timestep_embedder_(scope / "time_guidance_embed.timestep_embedder", config.timestep_guidance_channels,
                         config.inner_dim(), /*bias=*/false),
      double_modulation_img_(scope / "double_stream_modulation_img.linear", config.inner_dim(),
                             Flux2DoubleBlock::kChunks * config.inner_dim(), false),
      double_modulation_txt_(scope / "double_stream_modulation_txt.linear", config.inner_dim(),
                             Flux2DoubleBlock::kChunks * config.inner_dim(), false),
      single_modulation_(scope / "single_stream_modulation.linear", config.inner_dim(),
                         Flux2SingleBlock::kChunks * config.inner_dim(), false),
      x_embedder_(scope / "x_embedder", config.in_channels, config.inner_dim(), false),
      context_embedder_(scope / "context_embedder", config.joint_attention_dim, config.inner_dim(), false),
      norm_out_(scope / "norm_out.linear", config.inner_dim(), 2 * config.inner_dim(), false),
      proj_out_(scope / "proj_out", config.inner_dim(), config.out_channels, false) {
  if (config.guidance_embeds) {
    guidance_embedder_.emplace(scope / "time_guidance_embed.guidance_embedder",
                               config.timestep_guidance_channels, config.inner_dim(), /*bias=*/false);
  }
  for (int i = 0; i < config.num_layers; ++i)
    double_blocks_.emplace_back(config, scope / "transformer_blocks" / i);
  for (int i = 0; i < config.num_single_layers; ++i)
    single_blocks_.emplace_back(config, scope / "single_transformer_blocks" / i);
}

Flux2Transformer::~Flux2Transformer() = default;
Flux2Transformer::Flux2Transformer(Flux2Transformer&&) noexcept = default;

at::Tensor Flux2Transformer::embed_context(const at::Tensor& text) const { return context_embedder_(text); }

at::Tensor Flux2Transformer::modulations(const at::Tensor& timesteps, const at::Tensor& guidance) const {
  CHECK(guidance.defined() == guidance_embedder_.has_value());
  // Multiplied in the weights' dtype, as the original does.
  const auto sinusoid = [&](const at::Tensor& t) {
    return nn::timestep_sinusoid((t * kFlux2Timesteps).to(at::kFloat), config_.timestep_guidance_channels)
        .to(t.scalar_type());
  };
  at::Tensor embedding = timestep_embedder_(sinusoid(timesteps));  // [R, D]
  if (guidance_embedder_) embedding = embedding + (*guidance_embedder_)(sinusoid(guidance));
  const at::Tensor conditioning = nn::activate(nn::Activation::silu, embedding);
  return at::cat({double_modulation_img_(conditioning), double_modulation_txt_(conditioning),
                  single_modulation_(conditioning), norm_out_(conditioning)},
                 1);
}

// Text lies along the last axis, pictures along the first three.
nn::Rotation Flux2Transformer::rotation(std::int64_t text_tokens, const std::vector<TokenGrid>& grids,
                                        at::Device device) const {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  const at::Tensor text = at::constant_pad_nd(at::arange(text_tokens, options).unsqueeze(1), {3, 0});
  const at::Tensor image = at::constant_pad_nd(token_positions(grids, device), {0, 1});
  return nn::rotation_of(at::cat({text, image}), config_.axes_dims_rope, config_.rope_theta);  // [T + N, 4]
}

at::Tensor Flux2Transformer::forward(const at::Tensor& image, const std::vector<TokenGrid>& grids,
                                     const at::Tensor& context, const at::Tensor& modulations) const {
  const std::int64_t text_tokens = context.size(1);
  CHECK_WITH(image.size(1) == count_tokens(grids),
             fmt::format("{} tokens on grids of {}", image.size(1), count_tokens(grids)));
  const nn::Rotation rotation = this->rotation(text_tokens, grids, image.device());
  const std::int64_t d = config_.inner_dim();
  const auto m = modulations.split_with_sizes(
      {Flux2DoubleBlock::kChunks * d, Flux2DoubleBlock::kChunks * d, Flux2SingleBlock::kChunks * d, d, d}, 1);
  at::Tensor x = x_embedder_(image);  // [B, N, D]
  at::Tensor c = context;             // [B, T, D]
  const DoubleStreamRotation by_stream{.image = tokens_of(rotation, text_tokens, image.size(1)),
                                       .text = tokens_of(rotation, 0, text_tokens)};
  for (const auto& block : double_blocks_) block(x, c, m[0], m[1], by_stream);
  x = at::cat({c, x}, 1);  // [B, T + N, D]
  for (const auto& block : single_blocks_) {
    const bool last = &block == &single_blocks_.back();
    x = last ? block(x, m[2], rotation, text_tokens, grids.front().tokens())
             : block(x, m[2], rotation, 0, x.size(1));
  }
  return proj_out_(nn::modulated_layer_norm(x, m[4], m[3], config_.eps));  // scale before shift
}

}  // namespace diffused::models
