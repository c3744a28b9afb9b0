// The image autoencoder of FLUX.2, Diffusers' AutoencoderKLFlux2: an AutoencoderKL whose latents are packed,
// a square of 2 by 2 into the channels of one, and brought to the denoiser's scale channel by channel.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <vector>

#include "base/result.h"
#include "models/autoencoder.h"
#include "models/autoencoder_kl.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of vae/config.json that matter; the defaults are those of AutoencoderKLFlux2.
struct AutoencoderKlFlux2Config {
  static constexpr std::int64_t kPatch = 2;

  AutoencoderKlConfig inner;
  double batch_norm_eps = 1e-4;

  // As AutoencoderKlConfig's; unsupported too for another patch_size.
  static Result<AutoencoderKlFlux2Config> from_json(const boost::json::object& json);

  bool operator==(const AutoencoderKlFlux2Config&) const = default;

  LatentFormat format() const {
    return {inner.latent_channels * kPatch * kPatch, inner.pixels_per_latent() * kPatch};
  }
};

class AutoencoderKlFlux2 final : public Autoencoder {
 public:
  // Reads every tensor under `scope`. Throws weights::LoadError.
  AutoencoderKlFlux2(const AutoencoderKlFlux2Config& config, const weights::Scope& scope);

  LatentFormat format() const override { return config_.format(); }
  at::Tensor decode_stage(std::size_t stage, const at::Tensor& x) const override;
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const override;
  LatentDistribution encode(const at::Tensor& image) const override;
  // Its scale is of the weights, not of the config: always by channel.
  at::Tensor scaled(const at::Tensor& latents, bool by_channel) const override;
  at::Tensor unscaled(const at::Tensor& latents) const override;

  const AutoencoderKlFlux2Config& config() const { return config_; }

 private:
  AutoencoderKlFlux2Config config_;
  AutoencoderKl inner_;
  at::Tensor mean_, deviation_;  // [1, channels, 1, 1] float32
};

}  // namespace diffused::models
