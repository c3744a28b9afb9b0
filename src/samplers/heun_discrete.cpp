// Follows diffusers 0.42.1, schedulers/scheduling_heun_discrete.py.
#include "samplers/heun_discrete.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>

namespace diffused::samplers {

Result<HeunDiscreteConfig> HeunDiscreteConfig::parse(const boost::json::object& object) {
  HeunDiscreteConfig config;
  config.space.noise.beta_start = 0.00085;
  config.space.noise.beta_end = 0.012;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/true);
  config.space.noise.rescale_betas_zero_snr = false;  // the class has no such option
  options.read("clip_sample", config.clip_sample);
  options.read("clip_sample_range", config.clip_sample_range);
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> HeunDiscrete::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request, takes_timesteps()));
  TRY(const SigmaSteps levels, steps(request));
  Schedule schedule;
  schedule.calls_per_step = 2;
  for (std::size_t i = 0; i < levels.sigmas.size(); ++i) {
    // Each level but the first is where a step ends, and where the next one begins.
    for (int call = i == 0 ? 1 : 0; call < 2; ++call) {
      schedule.sigmas.push_back(static_cast<float>(levels.sigmas[i]));
      schedule.timesteps.push_back(static_cast<float>(levels.timesteps[i]));
    }
  }
  schedule.sigmas.push_back(0);
  return finite(std::move(schedule));
}

Stepped HeunDiscrete::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                           const at::Tensor& latents, const History& history, at::Generator&) const {
  const at::Tensor sigma = sigma_at(schedule, index);
  at::Tensor denoised = clean(schedule, index, model_output, latents);
  if (config_.clip_sample) denoised = denoised.clamp(-config_.clip_sample_range, config_.clip_sample_range);
  const at::Tensor direction = (latents - denoised) / sigma;
  if (history.empty())
    return {latents + direction * (sigma_at(schedule, index + 1) - sigma), {latents, direction}};
  const at::Tensor mean = (history[1] + direction) / 2;
  return {history[0] + mean * (sigma - sigma_at(schedule, index - 1)), {}};
}

}  // namespace diffused::samplers
