// The denoiser of Qwen-Image, Diffusers' QwenImageTransformer2DModel: blocks with a stream each for image and
// text tokens that attend jointly. Positions are told by rotating queries and keys: a picture's middle is at
// the origin, the text lies behind the picture's edge. Pictures to go by are further image tokens.
//
// A forward pass is cut in three, by how often each part changes:
//   embed_context   once per prompt
//   modulations     once per timestep; all steps of a picture may be computed in one call
//   forward         once per step
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <boost/json/object.hpp>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "models/double_stream.h"
#include "models/token_grid.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of transformer/config.json that shape the network; the defaults are those of
// QwenImageTransformer2DModel.
struct QwenImageTransformerConfig {
  static constexpr std::int64_t kPatch = 2;         // a token is a square of latent pixels of this side
  static constexpr std::int64_t kPositions = 4096;  // along each axis, and as many below zero

  std::int64_t in_channels = 64;   // of an image token
  std::int64_t out_channels = 16;  // of a latent pixel
  std::int64_t num_layers = 60;
  std::int64_t attention_head_dim = 128;
  std::int64_t num_attention_heads = 24;
  std::int64_t joint_attention_dim = 3584;
  // How many values of a head tell each of a token's three positions: picture, row, column.
  std::array<std::int64_t, 3> axes_dims_rope = {16, 56, 56};
  bool zero_cond_t = false;  // whether pictures to go by are told the time of a finished picture
  // Not in config.json: how the blocks' attention and perceptrons keep their weights; the others stay plain.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for another patch_size, for guidance_embeds, with which Diffusers itself cannot run the network, and for
  // pictures in layers; `field` is the key.
  static Result<QwenImageTransformerConfig> from_json(const boost::json::object& json);

  bool operator==(const QwenImageTransformerConfig&) const = default;

  std::int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  // Multiply-adds counted twice, of one forward for one row; image_tokens with those of references.
  double flops(std::int64_t image_tokens, std::int64_t text_tokens) const;
};

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class QwenImageTransformer {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  QwenImageTransformer(const QwenImageTransformerConfig& config, const weights::Scope& scope);

  // text: [B, T, joint_attention_dim] → [B, T, D], D = inner_dim().
  at::Tensor embed_context(const at::Tensor& text) const;

  // Every adaLN shift, scale and gate of every block, a row for each of the timesteps; opaque, made for
  // `forward`. Rows may be selected and concatenated freely. timesteps: [R] in 0…1, in the weights' dtype.
  // Returns [R, modulation width] in the weights' dtype.
  at::Tensor modulations(const at::Tensor& timesteps) const;

  // The velocity of the first grid's N tokens, [B, N, kPatch² * out_channels].
  // image: [B, tokens of all grids, in_channels], one grid after another; context: [B, T, D] from
  // embed_context; modulations: [B, width], each row at its own timestep. T plus half a grid's longer side is
  // at most kPositions.
  at::Tensor forward(const at::Tensor& image, const std::vector<TokenGrid>& grids, const at::Tensor& context,
                     const at::Tensor& modulations) const;

  const QwenImageTransformerConfig& config() const { return config_; }

 private:
  DoubleStreamRotation rotation(std::int64_t text_tokens, const std::vector<TokenGrid>& grids,
                                at::Device device) const;

  QwenImageTransformerConfig config_;
  nn::TwoLayerEmbedding timestep_embedder_;
  nn::RmsNorm txt_norm_;
  nn::Linear img_in_;
  nn::Linear txt_in_;
  std::vector<DoubleStreamBlock> transformer_blocks_;
  nn::Linear norm_out_;
  nn::Linear proj_out_;
};

}  // namespace diffused::models
