// Follows diffusers 0.42.1, schedulers/scheduling_flow_match_euler_discrete.py, and calculate_shift of its
// pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py.
#include "samplers/flow.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/scalar_tensor.h>

namespace diffused::samplers {

double DynamicShift::mu(const ScheduleRequest& request) const {
  if (request.mu) return *request.mu;
  const double slope = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len);
  const double offset = base_shift - slope * base_image_seq_len;
  return request.image_tokens * slope + offset;
}

void read_dynamic_shift(Options& options, DynamicShift& shift) {
  options.read("use_dynamic_shifting", shift.used);
  options.read("base_shift", shift.base_shift);
  options.read("max_shift", shift.max_shift);
  options.read("base_image_seq_len", shift.base_image_seq_len);
  options.read("max_image_seq_len", shift.max_image_seq_len);
  if (shift.used && shift.max_image_seq_len == shift.base_image_seq_len)
    options.refuse("max_image_seq_len", "different from base_image_seq_len");
}

at::Tensor scalar(float value) { return at::scalar_tensor(value, at::kFloat); }

at::Tensor FlowSampler::clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                                       const at::Tensor& latents) const {
  return latents.to(at::kFloat) - scalar(schedule.sigmas[static_cast<std::size_t>(index)]) * model_output;
}

at::Tensor FlowSampler::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                  const at::Tensor& noise) const {
  const at::Tensor sigma = scalar(schedule.sigmas[static_cast<std::size_t>(index)]).to(x0.options());
  return sigma * noise + (1 - sigma) * x0;
}

}  // namespace diffused::samplers
