// Dynamic thresholding: Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion Models with Deep
// Language Understanding".
#pragma once

#include <ATen/core/Tensor.h>

#include "samplers/options.h"

namespace diffused::samplers {

// The options of it, by Diffusers' names.
struct ThresholdConfig {
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995, sample_max_value = 1.0;
};
void read_threshold(Options& options, ThresholdConfig& config);

// Each picture's values cut off at the quantile `ratio` of their sizes, which is taken for 1 to `most`, and
// divided by it. clean: [B, …], any floating dtype; the result has its shape and dtype. Any thread.
at::Tensor threshold(const at::Tensor& clean, double ratio, double most);
// The same where the options ask for it, else what was given.
at::Tensor thresholded(const ThresholdConfig& config, const at::Tensor& clean);

}  // namespace diffused::samplers
