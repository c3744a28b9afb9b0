// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_flux.py and
// models/normalization.py (AdaLayerNormZero, AdaLayerNormZeroSingle, AdaLayerNormContinuous). Differs: the
// adaLN linears of all blocks run before the first block; text, whose positions are all zero, is not turned
// in the first blocks; the last block computes nothing for text that nobody reads; proj_out of a
// single-stream block is two linears, so that nothing is laid side by side for it; no ControlNet, LoRA or
// IP-adapter.
#include "models/flux_transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/modulation.h"
#include "nn/qkv_projection.h"

namespace diffused::models {
namespace {

constexpr double kFluxNormEps = 1e-6;
constexpr double kRotationBase = 10000;
constexpr double kTimestepsTrained = 1000;  // the network's timesteps and guidance are told in thousandths

nn::QkvForm qkv_form(const FluxTransformerConfig& config) {
  return {.heads = config.num_attention_heads,
          .head_dim = config.attention_head_dim,
          .rms_norm_eps = kFluxNormEps,
          .format = config.block_format};
}

constexpr DoubleStreamNames kFluxNames{{"norm1.linear", "norm1_context.linear"}, {"ff", "ff_context"}};

}  // namespace

Result<FluxTransformerConfig> FluxTransformerConfig::from_json(const boost::json::object& json) {
  FluxTransformerConfig c;
  ConfigReader read(json);
  if (read.integer("patch_size", 1) != 1) {
    read.refuse("patch_size", "must be 1: FLUX packs its latents before the network", ErrorCode::unsupported);
  }
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.out_channels = read.is_null("out_channels") ? c.in_channels : read.integer("out_channels", c.in_channels);
  c.num_layers = read.integer("num_layers", c.num_layers, /*least=*/0);
  c.num_single_layers = read.integer("num_single_layers", c.num_single_layers, /*least=*/0);
  c.attention_head_dim = read.integer("attention_head_dim", c.attention_head_dim);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.joint_attention_dim = read.integer("joint_attention_dim", c.joint_attention_dim);
  c.pooled_projection_dim = read.integer("pooled_projection_dim", c.pooled_projection_dim);
  c.guidance_embeds = read.boolean("guidance_embeds", c.guidance_embeds);
  read.even_parts("axes_dims_rope", c.axes_dims_rope, "attention_head_dim", c.attention_head_dim);
  return read.finish(c);
}

double FluxTransformerConfig::flops(std::int64_t image_tokens, std::int64_t text_tokens) const {
  const double d = inner_dim(), image = image_tokens, tokens = image_tokens + text_tokens;
  const double layers = num_layers + num_single_layers;
  const double blocks = layers * (12 * d * d * tokens + 2 * d * tokens * tokens);
  const double adaln = d * d * (12.0 * num_layers + 3.0 * num_single_layers + 2);
  const double ends = image * d * (in_channels + out_channels);
  return 2 * (blocks + adaln + ends);
}

// A block with one stream, in which attention and perceptron work side by side on the same tokens.
class SingleStreamBlock {
 public:
  static constexpr std::int64_t kChunks = 3;  // shift, scale and gate

  SingleStreamBlock(const FluxTransformerConfig& config, const weights::Scope& scope)
      : SingleStreamBlock(config, scope,
                          scope.tensor("proj_out.weight", {config.inner_dim(), 5 * config.inner_dim()})) {}

  // conditioning: SiLU of the embedding, [R, D] → [R, 3 D]
  at::Tensor modulation(const at::Tensor& conditioning) const { return norm_(conditioning); }

  // x: [B, L, D], text before image; modulation: [B, kChunks * D]; rotation: of all tokens. Only those from
  // `first` on, `kept` of them, are computed, [B, kept, D]; the others serve as keys and values.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& modulation, const nn::Rotation& rotation,
                        std::int64_t first, std::int64_t kept) const {
    const auto m = modulation.chunk(kChunks, 1);  // of [B, D]
    const at::Tensor normal = nn::modulated_layer_norm(x, m[0], m[1], kFluxNormEps);
    const nn::Heads heads = qkv_(normal, rotation);
    const at::Tensor attended =
        nn::merge_heads(nn::attention(heads.q.narrow(2, first, kept), heads.k, heads.v));  // [B, kept, D]
    const at::Tensor hidden =
        proj_mlp_(normal.narrow(1, first, kept), nn::Activation::gelu_tanh);  // [B, kept, 4 D]
    const at::Tensor y = proj_out_attended_.add_to(x.narrow(1, first, kept), attended, m[2]);
    return proj_out_hidden_.add_to(y, hidden, m[2]);
  }

 private:
  // proj_out: [D, 5 D], of [attended, hidden].
  SingleStreamBlock(const FluxTransformerConfig& config, const weights::Scope& scope,
                    const at::Tensor& proj_out)
      : norm_(scope / "norm.linear", config.inner_dim(), kChunks * config.inner_dim()),
        qkv_(scope / "attn", qkv_form(config), nn::kQkvNames),
        proj_mlp_(scope / "proj_mlp", config.inner_dim(), 4 * config.inner_dim(), /*bias=*/true,
                  config.block_format),
        proj_out_attended_(proj_out.narrow(1, 0, config.inner_dim()).contiguous(),
                           scope.tensor("proj_out.bias", {config.inner_dim()}), config.block_format,
                           {.names = {(scope / "proj_out").changeable_layer()}}),
        proj_out_hidden_(
            proj_out.narrow(1, config.inner_dim(), 4 * config.inner_dim()).contiguous(), {},
            config.block_format,
            {.names = {(scope / "proj_out").changeable_layer()}, .first_input = config.inner_dim()}) {}

  nn::Linear norm_;
  nn::QkvProjection qkv_;
  nn::Linear proj_mlp_;
  nn::Linear proj_out_attended_;
  nn::Linear proj_out_hidden_;
};

FluxTransformer::FluxTransformer(const FluxTransformerConfig& config, const weights::Scope& scope)
    : config_(config),
      time_text_embed_(scope / "time_text_embed", config.pooled_projection_dim, config.inner_dim(),
                       config.guidance_embeds),
      context_embedder_(scope / "context_embedder", config.joint_attention_dim, config.inner_dim()),
      x_embedder_(scope / "x_embedder", config.in_channels, config.inner_dim()),
      norm_out_(scope / "norm_out.linear", config.inner_dim(), 2 * config.inner_dim()),
      proj_out_(scope / "proj_out", config.inner_dim(), config.out_channels) {
  for (int i = 0; i < config.num_layers; ++i) {
    transformer_blocks_.emplace_back(qkv_form(config), kFluxNames, scope / "transformer_blocks" / i);
  }
  for (int i = 0; i < config.num_single_layers; ++i) {
    single_transformer_blocks_.emplace_back(config, scope / "single_transformer_blocks" / i);
  }
}

FluxTransformer::~FluxTransformer() = default;
FluxTransformer::FluxTransformer(FluxTransformer&&) noexcept = default;

at::Tensor FluxTransformer::embed_context(const at::Tensor& text) const { return context_embedder_(text); }

at::Tensor FluxTransformer::modulations(const FluxConditions& conditions) const {
  // Multiplied in the weights' dtype, as the original does.
  const auto wide = [](const at::Tensor& t) { return (t * kTimestepsTrained).to(at::kFloat); };
  const at::Tensor guidance = conditions.guidance.defined() ? wide(conditions.guidance) : at::Tensor();
  const at::Tensor embedding =
      time_text_embed_(wide(conditions.timesteps), conditions.pooled, guidance);  // [R, D]
  const at::Tensor conditioning = nn::activate(nn::Activation::silu, embedding);
  std::vector<at::Tensor> parts;
  for (const auto& block : transformer_blocks_) {
    parts.push_back(block.image_modulation(conditioning));
    parts.push_back(block.text_modulation(conditioning));
  }
  for (const auto& block : single_transformer_blocks_) parts.push_back(block.modulation(conditioning));
  parts.push_back(norm_out_(conditioning));
  return at::cat(parts, 1);  // [R, all chunks * D]
}

nn::Rotation FluxTransformer::rotation(std::int64_t text_tokens, const std::vector<TokenGrid>& grids,
                                       at::Device device) const {
  const at::Tensor positions =
      at::constant_pad_nd(token_positions(grids, device), {0, 0, text_tokens, 0});  // [T + N, 3]
  return nn::rotation_of(positions, config_.axes_dims_rope, kRotationBase);
}

at::Tensor FluxTransformer::forward(const at::Tensor& image, const std::vector<TokenGrid>& grids,
                                    const at::Tensor& context, const at::Tensor& modulations) const {
  const std::int64_t text_tokens = context.size(1), image_tokens = image.size(1);
  CHECK_WITH(image_tokens == count_tokens(grids),
             fmt::format("{} tokens on grids of {}", image_tokens, count_tokens(grids)));
  const nn::Rotation rotation = this->rotation(text_tokens, grids, image.device());
  const DoubleStreamRotation image_rotation{.image = tokens_of(rotation, text_tokens, image_tokens)};
  std::int64_t chunk = 0;
  const auto next_modulation = [&](std::int64_t chunks) {
    const std::int64_t d = config_.inner_dim(), begin = std::exchange(chunk, chunk + chunks);
    return modulations.narrow(1, begin * d, chunks * d);  // [B, chunks * D]
  };
  at::Tensor x = x_embedder_(image);  // [B, N, D]
  at::Tensor c = context;             // [B, T, D]
  for (const auto& block : transformer_blocks_) {
    const at::Tensor of_image = next_modulation(DoubleStreamBlock::kChunks);
    block(x, c, {.image = of_image, .text = next_modulation(DoubleStreamBlock::kChunks)}, image_rotation);
  }
  const std::int64_t made = grids.front().tokens();
  if (!single_transformer_blocks_.empty()) x = at::cat({c, x}, 1);  // [B, T + N, D]
  for (const auto& block : single_transformer_blocks_) {
    const bool last = &block == &single_transformer_blocks_.back();
    x = last ? block(x, next_modulation(SingleStreamBlock::kChunks), rotation, text_tokens, made)
             : block(x, next_modulation(SingleStreamBlock::kChunks), rotation, 0, x.size(1));
  }
  const auto scale_shift = next_modulation(2).chunk(2, 1);  // 2 of [B, D]
  return proj_out_(
      nn::modulated_layer_norm(x.narrow(1, 0, made), scale_shift[1], scale_shift[0], kFluxNormEps));
}

}  // namespace diffused::models
