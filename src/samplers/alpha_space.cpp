// Follows diffusers 0.42.1, schedulers/scheduling_ddim.py and those that copy from it.
#include "samplers/alpha_space.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>

#include "samplers/flow.h"
#include "samplers/sigma_spacing.h"

namespace diffused::samplers {

void read_alpha_space(Options& options, AlphaSpaceConfig& config, bool tells_sample) {
  read_training_noise(options, config.noise);
  config.noise.finite_terminal = false;
  options.read("prediction_type", config.prediction,
               {{"epsilon", Prediction::epsilon},
                {"v_prediction", Prediction::v_prediction},
                {"sample", Prediction::sample}});
  if (config.prediction == Prediction::sample && !tells_sample)
    options.refuse("prediction_type", "epsilon or v_prediction");
  options.read("set_alpha_to_one", config.set_alpha_to_one);
  read_timestep_spacing(options, config.timestep_spacing, config.steps_offset);
  options.read("clip_sample", config.clip_sample);
  options.read("clip_sample_range", config.clip_sample_range);
  read_threshold(options, config.threshold);
}

AlphaSpace::AlphaSpace(const AlphaSpaceConfig& config) : space_(config), noise_(config.noise) {}

std::vector<double> AlphaSpace::timesteps(int count) const {
  const int train = train_timesteps();
  std::vector<double> timesteps;
  switch (space_.timestep_spacing) {
    case TimestepSpacing::linspace:
      timesteps = linspace(0, train - 1, static_cast<std::size_t>(count));
      for (double& timestep : timesteps) timestep = std::nearbyint(timestep);
      break;
    case TimestepSpacing::leading:
      for (int i = 0; i < count; ++i) timesteps.push_back(i * (train / count) + space_.steps_offset);
      break;
    case TimestepSpacing::trailing:
      return trailing_timesteps(train, train, count);
  }
  std::ranges::reverse(timesteps);
  return timesteps;
}

Result<Schedule> AlphaSpace::schedule_of(const std::vector<double>& timesteps) const {
  Schedule schedule{.timesteps = {timesteps.begin(), timesteps.end()}};
  for (const double timestep : timesteps) {
    if (timestep < 0 || timestep >= train_timesteps())
      return fail(ErrorCode::invalid_argument, "the model's scheduler has no schedule of this many steps",
                  "num_inference_steps");
    schedule.sigmas.push_back(noise_.sigmas()[static_cast<std::size_t>(timestep)]);
  }
  schedule.sigmas.push_back(0);
  return schedule;
}

Result<Schedule> AlphaSpace::schedule_at(const std::vector<double>& custom) const {
  TRY(const auto timesteps, noise_.custom_timesteps(custom, /*whole=*/true));
  return schedule_of(timesteps);
}

at::Tensor AlphaSpace::alpha_at(int timestep) const {
  if (timestep < 0) return scalar(space_.set_alpha_to_one ? 1 : noise_.alphas_cumprod().front());
  return scalar(noise_.alphas_cumprod()[static_cast<std::size_t>(timestep)]);
}

at::Tensor AlphaSpace::clean(int timestep, const at::Tensor& model_output, const at::Tensor& latents) const {
  const at::Tensor alpha = alpha_at(timestep), beta = 1 - alpha;
  switch (space_.prediction) {
    case Prediction::sample:
      return model_output;
    case Prediction::v_prediction:
      return alpha.pow(0.5) * latents - beta.pow(0.5) * model_output;
    case Prediction::epsilon:
    case Prediction::flow_prediction:
      break;
  }
  return (latents - beta.pow(0.5) * model_output) / alpha.pow(0.5);
}

at::Tensor AlphaSpace::noise(int timestep, const at::Tensor& model_output, const at::Tensor& latents) const {
  const at::Tensor alpha = alpha_at(timestep), beta = 1 - alpha;
  switch (space_.prediction) {
    case Prediction::sample:
      return (latents - alpha.pow(0.5) * model_output) / beta.pow(0.5);
    case Prediction::v_prediction:
      return alpha.pow(0.5) * model_output + beta.pow(0.5) * latents;
    case Prediction::epsilon:
    case Prediction::flow_prediction:
      break;
  }
  return model_output;
}

at::Tensor AlphaSpace::bounded(const at::Tensor& clean) const {
  if (space_.threshold.thresholding) return thresholded(space_.threshold, clean);
  return space_.clip_sample ? clean.clamp(-space_.clip_sample_range, space_.clip_sample_range) : clean;
}

at::Tensor AlphaSpace::clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                                      const at::Tensor& latents) const {
  return bounded(clean(timestep_of(schedule, index), model_output, latents.to(at::kFloat))).to(at::kFloat);
}

at::Tensor AlphaSpace::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                 const at::Tensor& noise) const {
  const at::Tensor alpha = alpha_at(timestep_of(schedule, index)).to(x0.options());
  return alpha.pow(0.5) * x0 + (1 - alpha).pow(0.5) * noise;
}

int timestep_of(const Schedule& schedule, int index) {
  return static_cast<int>(schedule.timesteps[static_cast<std::size_t>(index)]);
}

}  // namespace diffused::samplers
