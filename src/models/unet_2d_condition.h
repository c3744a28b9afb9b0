// The denoiser of Stable Diffusion 1, 2 and XL, Diffusers' UNet2DConditionModel: convolutions down to small
// pictures and up again, with transformers over their pixels that look at the text (arXiv 2112.10752).
//
// A forward pass is cut in three, by how often each part changes:
//   embed_context   once per prompt: what all cross-attentions see of the text
//   modulations     once per (timestep, what else conditions); all steps of a picture may be one call
//   forward         once per step
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "nn/linear.h"
#include "weights/scope.h"

namespace diffused::models {

// One resolution, on the way down or up.
struct UnetLevel {
  std::int64_t channels = 0;
  std::int64_t layers = 0;  // resnets on the way down; one more on the way up
  std::int64_t heads = 1;   // of each attention
  // Transformer blocks after each resnet, on the way down and up; empty: none after any.
  std::vector<std::int64_t> depths = {}, up_depths = {};

  bool operator==(const UnetLevel&) const = default;
};

// The keys of unet/config.json that shape the network; the defaults are those of UNet2DConditionModel.
struct Unet2DConditionConfig {
  std::int64_t sample_size = 0;  // latent height and width when a request names none; 0: the config has none
  std::int64_t in_channels = 4;
  std::int64_t out_channels = 4;
  std::vector<UnetLevel> levels;  // the largest picture first
  bool mid_block = true;
  std::int64_t mid_depth = 1;  // transformer blocks between its two resnets; 0: it is one resnet
  std::int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  std::int64_t cross_attention_dim = 1280;
  bool use_linear_projection = false;
  // SDXL: pooled text and sizes ("addition_embed_type": "text_time").
  bool text_time = false;
  std::int64_t addition_time_embed_dim = 0;
  std::int64_t projection_class_embeddings_input_dim = 0;
  // Distilled models: the size of the guidance scale's embedding; 0: none.
  std::int64_t time_cond_proj_dim = 0;
  // Not in config.json: how the transformers keep their weights.
  nn::LinearFormat block_format = nn::LinearFormat::plain;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for what this program does not have, such as other block types; `field` is the key.
  static Result<Unet2DConditionConfig> from_json(const boost::json::object& json);

  bool operator==(const Unet2DConditionConfig&) const = default;

  std::int64_t time_embed_dim() const { return 4 * levels.front().channels; }
  // Multiply-adds counted twice, of one forward for one row of latents of this size.
  double flops(std::int64_t latent_h, std::int64_t latent_w, std::int64_t text_tokens) const;
};

// What conditions a row besides text tokens; R rows.
struct UnetConditioning {
  at::Tensor timesteps;  // [R] float32
  at::Tensor guidance;   // [R, time_cond_proj_dim] float32: the guidance scale's embedding; undefined without
  at::Tensor pooled;     // [R, P] with text_time
  at::Tensor time_ids;   // [R, sizes] with text_time: pixels
};

class UnetBlocks;

// Immutable once built; const methods from any thread (in practice the device thread). Rows of a batch are
// independent.
class Unet2DCondition {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  Unet2DCondition(const Unet2DConditionConfig& config, const weights::Scope& scope);
  ~Unet2DCondition();
  Unet2DCondition(Unet2DCondition&&) noexcept;

  // text: [B, T, cross_attention_dim] → [B, T, width]: the keys and values of every cross-attention.
  at::Tensor embed_context(const at::Tensor& text) const;

  // What every resnet adds for timestep and conditions: [R, width]; opaque, made for `forward`. Rows may be
  // selected and concatenated freely.
  at::Tensor modulations(const UnetConditioning& conditioning) const;

  // The network's output, [B, out_channels, h, w]. latents: [B, in_channels, h, w] in the weights' dtype, of
  // any size; context: of embed_context; modulations: [B, width], each row at its own timestep.
  at::Tensor forward(const at::Tensor& latents, const at::Tensor& context,
                     const at::Tensor& modulations) const;

  const Unet2DConditionConfig& config() const { return config_; }
  at::TensorOptions options() const;  // the weights' dtype and device

 private:
  Unet2DConditionConfig config_;
  std::unique_ptr<const UnetBlocks> blocks_;
};

}  // namespace diffused::models
