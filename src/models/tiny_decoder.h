// The decoding half of a tiny autoencoder (TAESD and its kin), Diffusers' AutoencoderTiny: latents become a
// picture in a small part of the work of the model's own autoencoder, and nearly as well.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "models/autoencoder.h"
#include "nn/conv.h"
#include "weights/scope.h"

namespace diffused::models {

struct TinyDecoderConfig {
  std::int64_t latent_channels = 4;
  std::int64_t width = 64;                          // channels within
  std::vector<std::int64_t> blocks = {3, 3, 3, 1};  // of each level; each but the last doubles the sides
  double scaling_factor = 1, shift_factor = 0;
  // The denoiser's latents are such squares of the decoder's in the channels of one: FLUX.2's 2, else 1.
  std::int64_t patch = 1;

  bool operator==(const TinyDecoderConfig&) const = default;

  // Of the denoiser's latents.
  LatentFormat format() const {
    return {latent_channels * patch * patch, patch << (static_cast<std::int64_t>(blocks.size()) - 1)};
  }
};

class TinyBlock;

// Immutable once built; const methods from any thread (in practice the device thread).
class TinyDecoder final : public LatentDecoder {
 public:
  // Reads every tensor under `scope` that begins with "decoder.layers.", by Diffusers' names. Throws
  // weights::LoadError.
  TinyDecoder(const TinyDecoderConfig& config, const weights::Scope& scope);
  ~TinyDecoder() override;

  at::Tensor decode_stage(std::size_t stage, const at::Tensor& x) const override;
  std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const override;
  at::Tensor unscaled(const at::Tensor& latents) const override;

  const TinyDecoderConfig& config() const { return config_; }

 private:
  at::Tensor level_stage(std::size_t level, std::size_t stage, const at::Tensor& x) const;

  TinyDecoderConfig config_;
  nn::Conv2d first_;
  std::vector<std::vector<TinyBlock>> levels_;
  std::vector<nn::DoublingConv2d> doublings_;  // behind each level but the last
  nn::Conv2d last_;
};

}  // namespace diffused::models
