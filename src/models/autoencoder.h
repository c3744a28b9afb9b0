// What a pipeline knows of an image autoencoder, whatever its class: pixels ↔ latents.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffused::models {

// The diagonal normal distribution an image is encoded to; both [B, channels, h, w].
struct LatentDistribution {
  at::Tensor mean;
  at::Tensor logvar;  // clamped to [-30, 20]
  // A draw is mean + exp(logvar / 2) * noise.
};

// What an autoencoder's config says of its latents, known before any weight is read.
struct LatentFormat {
  std::int64_t channels = 0;
  std::int64_t pixels_per_latent = 1;  // of each side
};

// What makes pictures of latents. Immutable once built; const methods from any thread (in practice the device
// thread). Tensors are in the weights' dtype, on their device.
class LatentDecoder {
 public:
  virtual ~LatentDecoder() = default;

  // A decode goes in stages, so that nobody has to wait for all of it: stage 0 takes unscaled latents
  // [1, channels, h, w], each other stage the result of the one before, and the last gives the image
  // [1, 3, h * pixels_per_latent, w * pixels_per_latent], about -1…1, not clamped. What is between them is
  // opaque.
  virtual at::Tensor decode_stage(std::size_t stage, const at::Tensor& x) const = 0;
  // Returns the work of each stage for latents of this size, multiply-adds counted twice.
  virtual std::vector<double> decode_flops(std::int64_t latent_h, std::int64_t latent_w) const = 0;

  // What stage 0 takes, of latents [1, channels, h, w] at the denoiser's scale, of any float dtype.
  virtual at::Tensor unscaled(const at::Tensor& latents) const = 0;
};

// Rows of a batch are independent.
class Autoencoder : public LatentDecoder {
 public:
  virtual LatentFormat format() const = 0;

  // image: [B, 3, H, W] in -1…1, H and W multiples of pixels_per_latent. Returns the distribution of the
  // latents before scaling.
  virtual LatentDistribution encode(const at::Tensor& image) const = 0;

  // Latents as encode() gives them and stage 0 takes them, to the denoiser's scale. Any float dtype; [B,
  // channels, h, w]. `by_channel`: false leaves out what the config says of single channels.
  virtual at::Tensor scaled(const at::Tensor& latents, bool by_channel) const = 0;
};

}  // namespace diffused::models
