// Follows diffusers 0.42.1, schedulers/scheduling_euler_discrete.py and those that copy from it.
#include "samplers/sigma_space.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>

#include "samplers/flow.h"

namespace diffused::samplers {

void read_sigma_space(Options& options, SigmaSpaceConfig& config, bool tells_sample) {
  read_training_noise(options, config.noise);
  options.read("prediction_type", config.prediction,
               {{"epsilon", Prediction::epsilon},
                {"v_prediction", Prediction::v_prediction},
                {"sample", Prediction::sample}});
  if (config.prediction == Prediction::sample && !tells_sample)
    options.refuse("prediction_type", "epsilon or v_prediction");
  config.spacing = read_spacing(options);
  options.read("sigma_min", config.sigma_min);
  options.read("sigma_max", config.sigma_max);
  read_timestep_spacing(options, config.timestep_spacing, config.steps_offset);
}

SigmaSteps SigmaSpace::steps(int count) const {
  const int train = space_.noise.num_train_timesteps;
  const auto n = static_cast<std::size_t>(count);
  SigmaSteps steps;
  switch (space_.timestep_spacing) {
    case TimestepSpacing::linspace:
      for (const double timestep : linspace(0, train - 1, n))
        steps.timesteps.push_back(static_cast<float>(timestep));
      std::ranges::reverse(steps.timesteps);
      break;
    case TimestepSpacing::leading:
      for (int i = count - 1; i >= 0; --i)
        steps.timesteps.push_back(i * (train / count) + space_.steps_offset);
      break;
    case TimestepSpacing::trailing:
      steps.timesteps = trailing_timesteps(train, train, count);
      break;
  }
  for (const double timestep : steps.timesteps) steps.sigmas.push_back(noise_.sigma_at(timestep));
  if (space_.spacing == SigmaSpacing::linear) return steps;
  steps.sigmas = spaced(space_.spacing, space_.sigma_max.value_or(steps.sigmas.front()),
                        space_.sigma_min.value_or(steps.sigmas.back()), n);
  steps.timesteps.clear();
  for (const double sigma : steps.sigmas) steps.timesteps.push_back(noise_.timestep_at(sigma));
  return steps;
}

Result<SigmaSteps> SigmaSpace::steps(const ScheduleRequest& request) const {
  if (request.timesteps.empty()) return steps(request.steps);
  SigmaSteps steps;
  TRY(steps.timesteps, noise_.custom_timesteps(request.timesteps, /*whole=*/false));
  for (const double timestep : steps.timesteps) steps.sigmas.push_back(noise_.sigma_at(timestep));
  return steps;
}

float SigmaSpace::first_noise(const Schedule& schedule) const {
  const float highest = std::ranges::max(schedule.sigmas);
  if (space_.timestep_spacing != TimestepSpacing::leading) return highest;
  return (scalar(highest).pow(2) + 1).pow(0.5).item<float>();
}

at::Tensor SigmaSpace::network_input(const Schedule& schedule, int index, const at::Tensor& latents) const {
  return latents / (sigma_at(schedule, index).pow(2) + 1).pow(0.5);
}

at::Tensor SigmaSpace::clean(const Schedule& schedule, int index, const at::Tensor& model_output,
                             const at::Tensor& latents) const {
  const at::Tensor sigma = sigma_at(schedule, index);
  switch (space_.prediction) {
    case Prediction::sample:
      return model_output;
    case Prediction::v_prediction:
      return model_output * (-sigma / (sigma.pow(2) + 1).pow(0.5)) + latents / (sigma.pow(2) + 1);
    case Prediction::epsilon:
    case Prediction::flow_prediction:
      break;
  }
  return latents - sigma * model_output;
}

at::Tensor VarianceExploding::clean_estimate(const Schedule& schedule, int index,
                                             const at::Tensor& model_output,
                                             const at::Tensor& latents) const {
  return clean(schedule, index, model_output, latents.to(at::kFloat)).to(at::kFloat);
}

at::Tensor VarianceExploding::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                        const at::Tensor& noise) const {
  return x0 + noise * sigma_at(schedule, index).to(x0.options());
}

at::Tensor sigma_at(const Schedule& schedule, int index) {
  return scalar(schedule.sigmas[static_cast<std::size_t>(index)]);
}

AncestralLevels ancestral_levels(const at::Tensor& from, const at::Tensor& to) {
  const at::Tensor up = (to.pow(2) * (from.pow(2) - to.pow(2)) / from.pow(2)).pow(0.5);
  return {.down = (to.pow(2) - up.pow(2)).pow(0.5), .up = up};
}

}  // namespace diffused::samplers
