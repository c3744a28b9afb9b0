// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_qwenimage.py. Differs:
// the adaLN linears of all blocks run before the first block; no mask, as no text has padding; what is told
// of pictures to go by at time 0 is for their tokens alone, not chosen token by token; no ControlNet.
#include "models/qwen_image_transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/modulation.h"

namespace diffused::models {
namespace {

constexpr double kQwenImageNormEps = 1e-6;
constexpr double kQwenImageRotationBase = 10000;
constexpr double kQwenImageTimesteps = 1000;  // the network is told timesteps in thousandths
constexpr std::int64_t kTimestepWaves = 256;

constexpr DoubleStreamNames kQwenImageNames{{"img_mod.1", "txt_mod.1"}, {"img_mlp", "txt_mlp"}};

nn::QkvForm qkv_form(const QwenImageTransformerConfig& config) {
  return {.heads = config.num_attention_heads,
          .head_dim = config.attention_head_dim,
          .rms_norm_eps = kQwenImageNormEps,
          .format = config.block_format};
}

// 0 in the middle, which of an even side is the first place behind it.
at::Tensor centred(at::Tensor positions, std::int64_t rows, std::int64_t columns) {
  const std::int64_t shift[] = {0, rows - rows / 2, columns - columns / 2};
  return positions - at::tensor(at::ArrayRef<std::int64_t>(shift), at::kLong).to(positions.options());
}

}  // namespace

Result<QwenImageTransformerConfig> QwenImageTransformerConfig::from_json(const boost::json::object& json) {
  QwenImageTransformerConfig c;
  ConfigReader read(json);
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.out_channels =
      read.is_null("out_channels") ? c.in_channels : read.integer("out_channels", c.out_channels);
  c.num_layers = read.integer("num_layers", c.num_layers);
  c.attention_head_dim = read.integer("attention_head_dim", c.attention_head_dim);
  c.num_attention_heads = read.integer("num_attention_heads", c.num_attention_heads);
  c.joint_attention_dim = read.integer("joint_attention_dim", c.joint_attention_dim);
  c.zero_cond_t = read.boolean("zero_cond_t", c.zero_cond_t);
  read.even_parts("axes_dims_rope", c.axes_dims_rope, "attention_head_dim", c.attention_head_dim);
  read.support(read.integer("patch_size", kPatch) == kPatch, "patch_size", "must be 2");
  read.support(!read.boolean("guidance_embeds", false), "guidance_embeds", "must be false");
  read.support(!read.boolean("use_additional_t_cond", false), "use_additional_t_cond", "must be false");
  read.support(!read.boolean("use_layer3d_rope", false), "use_layer3d_rope", "must be false");
  return read.finish(c);
}

double QwenImageTransformerConfig::flops(std::int64_t image_tokens, std::int64_t text_tokens) const {
  const double d = inner_dim(), image = image_tokens, tokens = image_tokens + text_tokens;
  const double blocks = num_layers * (12 * d * d * tokens + 2 * d * tokens * tokens);
  const double adaln = d * d * (12.0 * num_layers + 2);
  const double ends = image * d * (in_channels + kPatch * kPatch * out_channels);
  return 2 * (blocks + adaln + ends);
}

QwenImageTransformer::QwenImageTransformer(const QwenImageTransformerConfig& config,
                                           const weights::Scope& scope)
    : config_(config),
      timestep_embedder_(scope / "time_text_embed.timestep_embedder", kTimestepWaves, config.inner_dim()),
      txt_norm_(scope / "txt_norm", config.joint_attention_dim, kQwenImageNormEps),
      img_in_(scope / "img_in", config.in_channels, config.inner_dim()),
      txt_in_(scope / "txt_in", config.joint_attention_dim, config.inner_dim()),
      norm_out_(scope / "norm_out.linear", config.inner_dim(), 2 * config.inner_dim()),
      proj_out_(scope / "proj_out", config.inner_dim(), config.kPatch * config.kPatch * config.out_channels) {
  for (int i = 0; i < config.num_layers; ++i)
    transformer_blocks_.emplace_back(qkv_form(config), kQwenImageNames, scope / "transformer_blocks" / i);
}

at::Tensor QwenImageTransformer::embed_context(const at::Tensor& text) const {
  return txt_in_(txt_norm_(text));
}

at::Tensor QwenImageTransformer::modulations(const at::Tensor& timesteps) const {
  const auto conditioning = [&](const at::Tensor& t) {
    const at::Tensor waves = nn::timestep_sinusoid(t, kTimestepWaves, kQwenImageTimesteps);
    return nn::activate(nn::Activation::silu, timestep_embedder_(waves.to(t.scalar_type())));  // [R, D]
  };
  const at::Tensor now = conditioning(timesteps);
  at::Tensor finished;
  if (config_.zero_cond_t) finished = conditioning(at::zeros_like(timesteps));
  std::vector<at::Tensor> parts;
  for (const auto& block : transformer_blocks_) {
    parts.push_back(block.image_modulation(now));
    parts.push_back(block.text_modulation(now));
    if (finished.defined()) parts.push_back(block.image_modulation(finished));
  }
  parts.push_back(norm_out_(now));
  return at::cat(parts, 1);  // [R, all chunks * D]
}

DoubleStreamRotation QwenImageTransformer::rotation(std::int64_t text_tokens,
                                                    const std::vector<TokenGrid>& grids,
                                                    at::Device device) const {
  std::vector<at::Tensor> positions;
  std::int64_t edge = 0;
  for (const TokenGrid& grid : grids) {
    positions.push_back(centred(token_positions({grid}, device), grid.rows, grid.columns));
    edge = std::max({edge, grid.rows / 2, grid.columns / 2});
  }
  CHECK_WITH(edge + text_tokens <= config_.kPositions,
             fmt::format("{} tokens of text behind {}", text_tokens, edge));
  const at::Tensor text = at::arange(edge, edge + text_tokens, positions.front().options());
  const auto rotation_of = [&](const at::Tensor& places) {
    return nn::rotation_of(places, config_.axes_dims_rope, kQwenImageRotationBase, nn::Angles::narrow);
  };
  return {.image = rotation_of(at::cat(positions)),
          .text = rotation_of(text.unsqueeze(1).expand({text_tokens, 3}))};
}

at::Tensor QwenImageTransformer::forward(const at::Tensor& image, const std::vector<TokenGrid>& grids,
                                         const at::Tensor& context, const at::Tensor& modulations) const {
  CHECK_WITH(image.size(1) == count_tokens(grids),
             fmt::format("{} tokens on grids of {}", image.size(1), count_tokens(grids)));
  const DoubleStreamRotation rotation = this->rotation(context.size(1), grids, image.device());
  const std::int64_t made = grids.front().tokens();
  std::int64_t chunk = 0;
  const auto next_modulation = [&](std::int64_t chunks) {
    const std::int64_t d = config_.inner_dim(), begin = std::exchange(chunk, chunk + chunks);
    return modulations.narrow(1, begin * d, chunks * d);  // [B, chunks * D]
  };
  at::Tensor x = img_in_(image);  // [B, N, D]
  at::Tensor c = context;         // [B, T, D]
  for (const auto& block : transformer_blocks_) {
    DoubleStreamModulation modulation;
    modulation.image = next_modulation(block.kChunks);
    modulation.text = next_modulation(block.kChunks);
    if (config_.zero_cond_t) {
      const at::Tensor behind = next_modulation(block.kChunks);
      if (grids.size() > 1) modulation.behind = behind, modulation.first_behind = made;
    }
    block(x, c, modulation, rotation);
  }
  const auto scale_shift = next_modulation(2).chunk(2, 1);  // 2 of [B, D]
  return proj_out_(
      nn::modulated_layer_norm(x.narrow(1, 0, made), scale_shift[1], scale_shift[0], kQwenImageNormEps));
}

}  // namespace diffused::models
