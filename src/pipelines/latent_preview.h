// A cheap look at latents: one pixel per latent, each colour a weighted sum of the channels.
#pragma once

#include <ATen/core/Tensor.h>

#include "image/image.h"
#include "models/autoencoder.h"

namespace diffused::pipelines {

// Immutable; device thread only.
class LatentPreview {
 public:
  // Fits the weights by least squares, on a picture of soft colours that the autoencoder encodes: the same
  // weights for the same autoencoder. Takes about as long as encoding one picture of 128x128. `dtype` and
  // `device` are the autoencoder's.
  LatentPreview(const models::Autoencoder& autoencoder, at::ScalarType dtype, at::Device device);

  // latents: [1, latent_channels, h, w] as the denoiser has them (shifted and scaled), any float dtype and
  // device. Returns w x h pixels of RGB.
  Image render(const at::Tensor& latents) const;

 private:
  at::Tensor weights_;  // [3, latent_channels + 1] float32 on the CPU; the last column is the offset
};

// [1, 3, H, W] in 0…1, any float dtype and device, to 8 bits: times 255, halves rounded to even, as Diffusers
// does. What is outside is cut off.
Image to_image(const at::Tensor& rgb);

}  // namespace diffused::pipelines
