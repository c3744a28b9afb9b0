// Dynamic thresholding: Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion Models with Deep
// Language Understanding".
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::samplers {

// Each picture's values cut off at the quantile `ratio` of their sizes, which is taken for 1 to `most`, and
// divided by it. clean: [B, …], any floating dtype; the result has its shape and dtype. Any thread.
at::Tensor threshold(const at::Tensor& clean, double ratio, double most);

}  // namespace diffused::samplers
