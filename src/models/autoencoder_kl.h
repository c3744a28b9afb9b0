// The image autoencoder of Stable Diffusion 1 to 3.5 and FLUX.1, Diffusers' AutoencoderKL: pixels ↔ latents.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "models/autoencoder.h"
#include "nn/conv.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of vae/config.json that matter; the defaults are those of AutoencoderKL.
struct AutoencoderKlConfig {
  std::int64_t in_channels = 3;
  std::int64_t out_channels = 3;
  std::vector<std::int64_t> block_out_channels = {64};
  std::vector<std::int64_t> decoder_block_out_channels = {};  // empty: as those of the encoder
  std::int64_t layers_per_block = 1;
  std::int64_t latent_channels = 4;
  std::int64_t norm_num_groups = 32;
  std::int64_t sample_size = 32;
  double scaling_factor = 0.18215;
  std::optional<double> shift_factor = std::nullopt;
  // Of each latent channel, where latents are normalised by channel: Playground v2.5. Else empty.
  std::vector<double> latents_mean = {}, latents_std = {};
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for block types or an activation this program does not have; `field` is the key.
  static Result<AutoencoderKlConfig> from_json(const boost::json::object& json);

  bool operator==(const AutoencoderKlConfig&) const = default;

  // Pixels per latent side: 2 ^ (levels - 1).
  std::int64_t pixels_per_latent() const { return std::int64_t{1} << (block_out_channels.size() - 1); }
  LatentFormat format() const { return {latent_channels, pixels_per_latent()}; }
  const std::vector<std::int64_t>& decoder_channels() const {
    return decoder_block_out_channels.empty() ? block_out_channels : decoder_block_out_channels;
  }
  // Of each stage of a decode (AutoencoderKl::decode_stage), multiply-adds counted twice, for latents of this
  // size.
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const;
};

class Encoder;
class Decoder;

// Works in channels_last memory inside; results have the plain shape and any strides.
class AutoencoderKl final : public Autoencoder {
 public:
  // Reads every tensor under `scope`; the mid attention may carry its old names (query, key, value,
  // proj_attn). Throws weights::LoadError.
  AutoencoderKl(const AutoencoderKlConfig& config, const weights::Scope& scope);
  ~AutoencoderKl() override;
  AutoencoderKl(AutoencoderKl&&) noexcept;

  // latents: [B, latent_channels, h, w] in the weights' dtype, already unscaled().
  // Returns [B, out_channels, h * f, w * f] with f = pixels_per_latent(); about -1…1, not clamped.
  at::Tensor decode(const at::Tensor& latents) const;

  LatentFormat format() const override { return config_.format(); }
  // A stage is a layer or a block of them, at most about an eighth of the work.
  std::size_t decode_stages() const;
  at::Tensor decode_stage(std::size_t stage, const at::Tensor& x) const override;
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const override {
    return config_.decode_flops(latent_h, latent_w);
  }
  LatentDistribution encode(const at::Tensor& image) const override;
  at::Tensor scaled(const at::Tensor& latents, bool by_channel) const override;
  at::Tensor unscaled(const at::Tensor& latents) const override;

  const AutoencoderKlConfig& config() const { return config_; }

 private:
  AutoencoderKlConfig config_;
  std::unique_ptr<const Encoder> encoder_;
  std::unique_ptr<const Decoder> decoder_;
  std::optional<nn::Conv2d> quant_conv_;
  std::optional<nn::Conv2d> post_quant_conv_;
};

}  // namespace diffused::models
