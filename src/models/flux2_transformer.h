// The denoiser of FLUX.2, Diffusers' Flux2Transformer2DModel: blocks with a stream each for image and text
// tokens that attend jointly, then blocks with one stream for both. All blocks of a kind share their
// modulation. Pictures to go by ("references") are further image tokens.
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
#include <optional>
#include <vector>

#include "base/result.h"
#include "models/token_grid.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of transformer/config.json that shape the network; the defaults are those of
// Flux2Transformer2DModel.
struct Flux2TransformerConfig {
  std::int64_t in_channels = 128;  // of an image token
  std::int64_t out_channels = 128;
  std::int64_t num_layers = 8;          // blocks of two streams
  std::int64_t num_single_layers = 48;  // blocks of one stream
  std::int64_t attention_head_dim = 128;
  std::int64_t num_attention_heads = 48;
  std::int64_t joint_attention_dim = 15360;
  std::int64_t timestep_guidance_channels = 256;
  double mlp_ratio = 3;
  double eps = 1e-6;
  double rope_theta = 2000;
  bool guidance_embeds = true;  // whether the network is told a guidance scale
  // How many values of a head tell each of a token's four positions: picture, row, column; word.
  std::array<std::int64_t, 4> axes_dims_rope = {32, 32, 32, 32};
  // Not in config.json: how the blocks' attention and perceptrons keep their weights; the others stay plain.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for a patch_size other than 1; `field` is the key.
  static Result<Flux2TransformerConfig> from_json(const boost::json::object& json);

  bool operator==(const Flux2TransformerConfig&) const = default;

  std::int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
  std::int64_t hidden_dim() const {
    return static_cast<std::int64_t>(static_cast<double>(inner_dim()) * mlp_ratio);
  }
  // Multiply-adds counted twice, of one forward for one row; image_tokens with those of references.
  double flops(std::int64_t image_tokens, std::int64_t text_tokens) const;
};

class Flux2DoubleBlock;
class Flux2SingleBlock;

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class Flux2Transformer {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  Flux2Transformer(const Flux2TransformerConfig& config, const weights::Scope& scope);
  ~Flux2Transformer();
  Flux2Transformer(Flux2Transformer&&) noexcept;

  // text: [B, T, joint_attention_dim] → [B, T, D], D = inner_dim().
  at::Tensor embed_context(const at::Tensor& text) const;

  // Every shift, scale and gate, a row for each of the timesteps; opaque, made for `forward`. Rows may be
  // selected and concatenated freely. timesteps: [R] in 0…1, guidance: [R] where the config has
  // guidance_embeds, else undefined; both in the weights' dtype. Returns [R, modulation width].
  at::Tensor modulations(const at::Tensor& timesteps, const at::Tensor& guidance) const;

  // The velocity of the first grid's N tokens, [B, N, out_channels].
  // image: [B, sum of the grids' tokens, in_channels] in the weights' dtype; context: [B, T, D] from
  // embed_context; modulations: [B, width], each row at its own timestep.
  at::Tensor forward(const at::Tensor& image, const std::vector<TokenGrid>& grids, const at::Tensor& context,
                     const at::Tensor& modulations) const;

  const Flux2TransformerConfig& config() const { return config_; }

 private:
  nn::Rotation rotation(std::int64_t text_tokens, const std::vector<TokenGrid>& grids,
                        at::Device device) const;

  Flux2TransformerConfig config_;
  nn::TwoLayerEmbedding timestep_embedder_;
  std::optional<nn::TwoLayerEmbedding> guidance_embedder_;
  nn::Linear double_modulation_img_, double_modulation_txt_, single_modulation_;
  nn::Linear x_embedder_, context_embedder_;
  std::vector<Flux2DoubleBlock> double_blocks_;
  std::vector<Flux2SingleBlock> single_blocks_;
  nn::Linear norm_out_, proj_out_;
};

}  // namespace diffused::models
