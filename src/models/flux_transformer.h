// The denoiser of FLUX.1, Diffusers' FluxTransformer2DModel: blocks with a stream each for image and text
// tokens that attend jointly, then blocks with one stream for both. Positions are told by rotating queries
// and keys, so that no table bounds the picture's size. Pictures to go by (FLUX.1 Kontext's) are further
// image tokens.
//
// A forward pass is cut in three, by how often each part changes:
//   embed_context   once per prompt
//   modulations     once per (timestep, guidance, pooled embedding); all steps of a picture may be computed
//                   in one call
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
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of transformer/config.json that shape the network; the defaults are those of
// FluxTransformer2DModel.
struct FluxTransformerConfig {
  std::int64_t in_channels = 64;  // of an image token: a patch of 2 x 2 latents of 16 channels
  std::int64_t out_channels = 64;
  std::int64_t num_layers = 19;         // blocks of two streams
  std::int64_t num_single_layers = 38;  // blocks of one stream
  std::int64_t attention_head_dim = 128;
  std::int64_t num_attention_heads = 24;
  std::int64_t joint_attention_dim = 4096;
  std::int64_t pooled_projection_dim = 768;
  bool guidance_embeds = false;  // whether the network is told a guidance scale
  // How many values of a head tell each of a token's three positions: picture, row, column.
  std::array<std::int64_t, 3> axes_dims_rope = {16, 56, 56};
  // Not in config.json: how the blocks' attention and perceptrons keep their weights; the others stay plain.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for a patch_size other than 1; `field` is the key.
  static Result<FluxTransformerConfig> from_json(const boost::json::object& json);

  bool operator==(const FluxTransformerConfig&) const = default;

  std::int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  // Multiply-adds counted twice, of one forward for one row; image_tokens with those of references.
  double flops(std::int64_t image_tokens, std::int64_t text_tokens) const;
};

// What the network is told besides the tokens; R rows.
struct FluxConditions {
  at::Tensor timesteps;  // [R] in 0…1, in the weights' dtype
  at::Tensor guidance;   // [R] in the weights' dtype where the config has guidance_embeds, else undefined
  at::Tensor pooled;     // [R, pooled_projection_dim] in the weights' dtype
};

class SingleStreamBlock;

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class FluxTransformer {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  FluxTransformer(const FluxTransformerConfig& config, const weights::Scope& scope);
  ~FluxTransformer();
  FluxTransformer(FluxTransformer&&) noexcept;

  // text: [B, T, joint_attention_dim] → [B, T, D], D = inner_dim().
  at::Tensor embed_context(const at::Tensor& text) const;

  // Every adaLN shift, scale and gate of every block, a row for each of the conditions'; opaque, made for
  // `forward`. Rows may be selected and concatenated freely. Returns [R, modulation width] in the weights'
  // dtype.
  at::Tensor modulations(const FluxConditions& conditions) const;

  // The velocity of the first grid's N tokens, [B, N, out_channels].
  // image: [B, sum of the grids' tokens, in_channels] in the weights' dtype; context: [B, T, D] from
  // embed_context; modulations: [B, width], each row at its own timestep.
  at::Tensor forward(const at::Tensor& image, const std::vector<TokenGrid>& grids, const at::Tensor& context,
                     const at::Tensor& modulations) const;

  const FluxTransformerConfig& config() const { return config_; }

 private:
  nn::Rotation rotation(std::int64_t text_tokens, const std::vector<TokenGrid>& grids,
                        at::Device device) const;

  FluxTransformerConfig config_;
  nn::ConditioningEmbedding time_text_embed_;
  nn::Linear context_embedder_;
  nn::Linear x_embedder_;
  std::vector<DoubleStreamBlock> transformer_blocks_;
  std::vector<SingleStreamBlock> single_transformer_blocks_;
  nn::Linear norm_out_;
  nn::Linear proj_out_;
};

}  // namespace diffused::models
