// The image autoencoder of Qwen-Image, Diffusers' AutoencoderKLQwenImage, which is one for films: of a still
// picture, a film's first moment, its convolutions see nothing before and pass nothing on, so that of each of
// their kernels the last slice in time is all that counts. Only that is loaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "models/autoencoder.h"
#include "nn/conv.h"
#include "weights/scope.h"

namespace diffused::models {

// The keys of vae/config.json that matter; the defaults are those of AutoencoderKLQwenImage, but for the
// latents' means and deviations, which must be there.
struct AutoencoderKlQwenImageConfig {
  std::int64_t base_dim = 96;
  std::int64_t z_dim = 16;
  std::vector<std::int64_t> dim_mult = {1, 2, 4, 4};
  std::int64_t num_res_blocks = 2;
  std::int64_t input_channels = 3;
  std::vector<double> latents_mean = {}, latents_std = {};  // of each latent channel

  // Unknown keys are ignored. Error: invalid_argument for a wrong type or an impossible value, unsupported
  // for attention outside the middle; `field` is the key.
  static Result<AutoencoderKlQwenImageConfig> from_json(const boost::json::object& json);

  bool operator==(const AutoencoderKlQwenImageConfig&) const = default;

  LatentFormat format() const { return {z_dim, std::int64_t{1} << (dim_mult.size() - 1)}; }
  // Of each stage of a decode, multiply-adds counted twice, for latents of this size.
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const;
};

class QwenImageEncoder;
class QwenImageDecoder;

// Works in channels_last memory inside; results have the plain shape and any strides.
class AutoencoderKlQwenImage final : public Autoencoder {
 public:
  // Reads what still pictures need of every tensor under `scope`. Throws weights::LoadError.
  AutoencoderKlQwenImage(const AutoencoderKlQwenImageConfig& config, const weights::Scope& scope);
  ~AutoencoderKlQwenImage() override;
  AutoencoderKlQwenImage(AutoencoderKlQwenImage&&) noexcept;

  LatentFormat format() const override { return config_.format(); }
  at::Tensor decode_stage(std::size_t stage, const at::Tensor& x) const override;
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const override {
    return config_.decode_flops(latent_h, latent_w);
  }
  LatentDistribution encode(const at::Tensor& image) const override;
  // Always by channel, as each of its pipelines does.
  at::Tensor scaled(const at::Tensor& latents, bool by_channel) const override;
  at::Tensor unscaled(const at::Tensor& latents) const override;

 private:
  AutoencoderKlQwenImageConfig config_;
  std::unique_ptr<const QwenImageEncoder> encoder_;
  std::unique_ptr<const QwenImageDecoder> decoder_;
  nn::Conv2d quant_conv_, post_quant_conv_;
};

}  // namespace diffused::models
