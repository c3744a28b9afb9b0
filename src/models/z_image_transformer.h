// The denoiser of Z-Image, Diffusers' ZImageTransformer2DModel: blocks of one stream, image tokens before
// text tokens, after a few blocks that refine each of the two alone.
//
// A forward pass is cut in three, by how often each part changes:
//   embed_context   once per prompt: all that the text becomes before it meets the image
//   modulations     once per timestep; all steps of a picture may be computed in one call
//   forward         once per step
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <boost/json/object.hpp>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of transformer/config.json that shape the network; the defaults are those of
// ZImageTransformer2DModel.
struct ZImageTransformerConfig {
  static constexpr std::int64_t kPatch = 2;           // a token is a square of latent pixels of this side
  static constexpr std::int64_t kTokenMultiple = 32;  // of each stream; what lacks are pad tokens

  std::int64_t in_channels = 16;
  std::int64_t dim = 3840;
  std::int64_t n_layers = 30;
  std::int64_t n_refiner_layers = 2;  // of image and of text
  std::int64_t n_heads = 30;
  double norm_eps = 1e-5;
  std::int64_t cap_feat_dim = 2560;  // of a text token as it comes
  double rope_theta = 256;
  double t_scale = 1000;
  // How many values of a head tell each of a token's three positions, and below which number each stays.
  std::array<std::int64_t, 3> axes_dims = {32, 48, 48};
  std::array<std::int64_t, 3> axes_lens = {1024, 512, 512};
  // Not in config.json: how the blocks' attention and perceptrons keep their weights; the others stay plain.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for other patches, for blocks without norms of queries and keys, and for pictures as prompts; `field` is
  // the key.
  static Result<ZImageTransformerConfig> from_json(const boost::json::object& json);

  bool operator==(const ZImageTransformerConfig&) const = default;

  std::int64_t head_dim() const { return dim / n_heads; }
  // Tokens with the pad tokens that make their number whole.
  static std::int64_t padded(std::int64_t tokens) {
    return (tokens + kTokenMultiple - 1) / kTokenMultiple * kTokenMultiple;
  }
  // The most text tokens, padded, whose positions the network knows.
  std::int64_t text_tokens_max() const { return (axes_lens[0] - 2) / kTokenMultiple * kTokenMultiple; }
  // Multiply-adds counted twice, of one forward for one row and of embed_context; text_tokens as they come.
  double flops(std::int64_t image_tokens, std::int64_t text_tokens) const;
  double context_flops(std::int64_t text_tokens) const;
};

class ZImageBlock;

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class ZImageTransformer {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  ZImageTransformer(const ZImageTransformerConfig& config, const weights::Scope& scope);
  ~ZImageTransformer();
  ZImageTransformer(ZImageTransformer&&) noexcept;

  // text: [B, T, cap_feat_dim] in the weights' dtype, T at most text_tokens_max() → [B, padded(T), dim].
  at::Tensor embed_context(const at::Tensor& text) const;

  // Every scale and gate of every block, a row for each of the timesteps; opaque, made for `forward`. Rows
  // may be selected and concatenated freely. timesteps: [R] float32, 0 for noise to 1 for the picture.
  // Returns [R, modulation width] in the weights' dtype.
  at::Tensor modulations(const at::Tensor& timesteps) const;

  // The velocity from noise to picture, [B, in_channels, h, w].
  // latents: [B, in_channels, h, w] in the weights' dtype, h and w multiples of kPatch below kPatch times
  // axes_lens; context: [B, padded(T), dim] from embed_context; modulations: [B, width], each row at its own
  // timestep.
  at::Tensor forward(const at::Tensor& latents, const at::Tensor& context,
                     const at::Tensor& modulations) const;

  const ZImageTransformerConfig& config() const { return config_; }

 private:
  nn::Rotation text_rotation(std::int64_t tokens, at::Device device) const;
  nn::Rotation image_rotation(std::int64_t rows, std::int64_t columns, std::int64_t text_tokens,
                              at::Device device) const;

  ZImageTransformerConfig config_;
  nn::Linear t_embedder_in_, t_embedder_out_;
  nn::RmsNorm cap_norm_;
  nn::Linear cap_embedder_;
  nn::Linear x_embedder_;
  at::Tensor x_pad_token_, cap_pad_token_;  // [1, dim]
  std::vector<ZImageBlock> noise_refiner_, context_refiner_, layers_;
  nn::Linear final_modulation_;
  nn::Linear final_linear_;
};

}  // namespace diffused::models
