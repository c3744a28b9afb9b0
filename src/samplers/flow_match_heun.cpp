// Follows diffusers 0.42.1, schedulers/scheduling_flow_match_heun_discrete.py.
#include "samplers/flow_match_heun.h"

#include <ATen/TensorOperators.h>

#include "samplers/flow.h"
#include "samplers/options.h"
#include "samplers/sigma_spacing.h"

namespace diffused::samplers {

Result<FlowMatchHeunConfig> FlowMatchHeunConfig::parse(const boost::json::object& object) {
  FlowMatchHeunConfig config;
  Options options(object);
  options.read("num_train_timesteps", config.num_train_timesteps);
  options.read("shift", config.shift);
  if (config.shift <= 0) options.refuse("shift", "positive");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> FlowMatchHeun::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  // The ends of the training range in float32, as Diffusers constructs them.
  const auto train = static_cast<float>(config_.num_train_timesteps);
  TRY(const double own_shift, shift_of(request, config_.shift, false));
  const auto shift = static_cast<float>(own_shift);
  const auto end = [&](float timestep) {
    const float sigma = timestep / train;
    return static_cast<double>(shift * sigma / (1 + static_cast<float>(own_shift - 1) * sigma)) * train;
  };
  Schedule schedule;
  schedule.calls_per_step = 2;
  for (const double timestep : linspace(end(train), end(1), static_cast<std::size_t>(request.steps))) {
    const auto sigma = static_cast<float>(static_shift(timestep / config_.num_train_timesteps, own_shift));
    // Each level but the first is where a step ends, and where the next one begins.
    for (int call = schedule.sigmas.empty() ? 1 : 0; call < 2; ++call) {
      schedule.sigmas.push_back(sigma);
      schedule.timesteps.push_back(sigma * train);
    }
  }
  schedule.sigmas.push_back(0);
  return schedule;
}

Stepped FlowMatchHeun::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents, const History& history, at::Generator&) const {
  const auto sigma_at = schedule.sigmas.begin() + index;
  const at::Tensor sample = latents.to(at::kFloat);
  const at::Tensor denoised = clean_estimate(schedule, index, model_output, latents);
  const at::Tensor direction = (sample - denoised) / scalar(sigma_at[0]);
  if (history.empty()) {
    const at::Tensor reached = sample + direction * scalar(sigma_at[1] - sigma_at[0]);
    return {reached.to(model_output.dtype()), {sample, direction}};
  }
  // Both calls of a step are at the same pair of levels: this one is at its lower end.
  const at::Tensor mean = 0.5 * (history[1] + direction);
  return {(history[0] + mean * scalar(sigma_at[0] - sigma_at[-1])).to(model_output.dtype()), {}};
}

at::Tensor FlowMatchHeun::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                    const at::Tensor& noise) const {
  // Not rounded to the dtype of x0, other than in FlowMatchEuler.
  const at::Tensor sigma = scalar(schedule.sigmas[static_cast<std::size_t>(index)]);
  return sigma * noise + (1 - sigma) * x0;
}

}  // namespace diffused::samplers
