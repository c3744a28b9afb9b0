// What all samplers of rectified flows share: latents at noise level sigma are (1 - sigma) of the picture and
// sigma of the noise, and the network tells noise - picture. Any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>
#include <vector>

#include "samplers/options.h"
#include "samplers/sampler.h"

namespace diffused::samplers {

// use_dynamic_shifting: how strongly a schedule is shifted depends on the picture's size.
struct DynamicShift {
  bool used = false;
  double base_shift = 0.5, max_shift = 1.15;
  int base_image_seq_len = 256, max_image_seq_len = 4096;

  // Diffusers' mu: the request's, or else linear in the number of tokens between the two sizes.
  double mu(const ScheduleRequest& request) const;
};
void read_dynamic_shift(Options& options, DynamicShift& shift);

enum class TimeShift { exponential, linear };

// A noise level shifted by a constant, and by mu. T is double for a sampler's own spacing and float for
// custom sigmas, as numpy has them at this point.
template <typename T>
T static_shift(T sigma, double shift) {
  return static_cast<T>(shift) * sigma / (1 + static_cast<T>(shift - 1) * sigma);
}
template <typename T>
T dynamic_shift(T sigma, double mu, TimeShift kind) {
  const T pull = static_cast<T>(kind == TimeShift::exponential ? std::exp(mu) : mu);
  return pull / (pull + (1 / sigma - 1));
}

// shift_terminal: the noise levels stretched so that the last one is `terminal`.
template <typename T>
void stretch_to_terminal(std::vector<T>& sigmas, double terminal) {
  const T stretch = (1 - sigmas.back()) / static_cast<T>(1 - terminal);
  for (T& sigma : sigmas) sigma = 1 - (1 - sigma) / stretch;
}

// A float32 tensor of no dimension: its product with a bf16 tensor is rounded to bf16, as in Diffusers.
at::Tensor scalar(float value);

// What samplers that follow flows alone have in common.
class FlowSampler : public Sampler {
 public:
  at::Tensor clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;
};

}  // namespace diffused::samplers
