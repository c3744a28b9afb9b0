// START HERE for the room `models`: one network per pair of files, each built from (config, Scope) and
// immutable.
//
// The denoiser of Stable Diffusion 3 and 3.5, Diffusers' SD3Transformer2DModel: a transformer whose blocks
// attend over image and text tokens jointly (arXiv 2403.03206).
//
// A forward pass is cut in three, by how often each part changes:
//   embed_context   once per prompt
//   modulations     once per (timestep, pooled embedding); all steps of a picture may be computed in one call
//   forward         once per step
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of transformer/config.json that shape the network; the defaults are those of
// SD3Transformer2DModel.
struct MmditConfig {
  std::int64_t sample_size = 128;  // latent height and width a pipeline takes when a request names none
  std::int64_t patch_size = 2;
  std::int64_t in_channels = 16;
  std::int64_t num_layers = 18;
  std::int64_t attention_head_dim = 64;
  std::int64_t num_attention_heads = 18;
  std::int64_t joint_attention_dim = 4096;
  std::int64_t pooled_projection_dim = 2048;
  std::int64_t out_channels = 16;
  // Side of the position table in patches. A latent side must not exceed pos_embed_max_size * patch_size.
  std::int64_t pos_embed_max_size = 96;
  std::vector<std::int64_t> dual_attention_layers = {};
  bool rms_qk_norm = false;  // "qk_norm": "rms_norm"
  // Not in config.json: how the blocks' attention and perceptrons keep their weights. What conditions them,
  // the embedders and the last projection, are few and decide much: they stay plain.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for a qk_norm other than rms_norm; `field` is the key.
  static Result<MmditConfig> from_json(const boost::json::object& json);

  bool operator==(const MmditConfig&) const = default;

  std::int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  // The largest latent side the position table can place.
  std::int64_t latent_side_max() const { return pos_embed_max_size * patch_size; }
  // Multiply-adds counted twice, of one forward for one row.
  double flops(std::int64_t image_tokens, std::int64_t text_tokens) const;
};

// The text as the blocks see it.
struct MmditContext {
  at::Tensor tokens;  // [B, T, D] from Mmdit::embed_context, possibly concatenated over rows
  // How many equal tokens each token stands for: [T] float32, all >= 1; undefined: one each. Tokens that are
  // equal stay equal through every block, so n of them may be given as one token with repeats n: the result
  // is the same (without T5 the pipeline's 256 zero tokens are one token).
  at::Tensor repeats;
};

class JointTransformerBlock;

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class Mmdit {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  Mmdit(const MmditConfig& config, const weights::Scope& scope);
  ~Mmdit();
  Mmdit(Mmdit&&) noexcept;

  // text: [B, T, joint_attention_dim] → [B, T, D], D = inner_dim().
  at::Tensor embed_context(const at::Tensor& text) const;

  // Every adaLN shift, scale and gate of every block, a row per (timestep, pooled) pair; opaque, made for
  // `forward`. Rows may be selected and concatenated freely. timesteps: [R] float32 in 0…1000; pooled: [R,
  // pooled_projection_dim] in the weights' dtype. Returns [R, modulation width] in the weights' dtype.
  at::Tensor modulations(const at::Tensor& timesteps, const at::Tensor& pooled) const;

  // The velocity, [B, out_channels, h, w].
  // latents: [B, in_channels, h, w] in the weights' dtype, h and w multiples of patch_size and at most
  // latent_side_max(); modulations: [B, width], each row at its own timestep. Blocks listed in `skip_layers`
  // are passed over (skip-layer guidance).
  at::Tensor forward(const at::Tensor& latents, const MmditContext& context, const at::Tensor& modulations,
                     std::span<const std::int64_t> skip_layers = {}) const;

  const MmditConfig& config() const { return config_; }

 private:
  at::Tensor unpatchify(const at::Tensor& x, std::int64_t latent_h, std::int64_t latent_w) const;

  MmditConfig config_;
  nn::PatchEmbedding pos_embed_;
  nn::ConditioningEmbedding time_text_embed_;
  nn::Linear context_embedder_;
  std::vector<JointTransformerBlock> transformer_blocks_;
  nn::Linear norm_out_;
  nn::Linear proj_out_;
};

}  // namespace diffused::models
