// Follows diffusers 0.42.1, schedulers/scheduling_ddpm.py.
#include "samplers/ddpm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/pow.h>

#include "samplers/noise.h"

namespace diffused::samplers {

Result<DdpmConfig> DdpmConfig::parse(const boost::json::object& object) {
  DdpmConfig config;
  config.space.clip_sample = true;
  Options options(object);
  read_alpha_space(options, config.space, /*tells_sample=*/true);
  config.space.set_alpha_to_one = true;  // the class has no such option
  options.read("variance_type", config.variance,
               {{"fixed_small", Variance::fixed_small},
                {"fixed_small_log", Variance::fixed_small_log},
                {"fixed_large", Variance::fixed_large}});
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> Ddpm::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request, {.timesteps = true}));
  if (!request.timesteps.empty()) return schedule_at(request.timesteps);
  return schedule_of(timesteps(request.steps));
}

Stepped Ddpm::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                   const at::Tensor& latents, const History&, at::Generator& generator) const {
  constexpr double kVarianceMin = 1e-20;
  const int timestep = timestep_of(schedule, index);
  const at::Tensor alpha = alpha_at(timestep);
  const at::Tensor alpha_next =
      alpha_at(index + 1 < schedule.calls() ? timestep_of(schedule, index + 1) : -1);
  const at::Tensor beta = 1 - alpha, beta_next = 1 - alpha_next;
  const at::Tensor step_alpha = alpha / alpha_next, step_beta = 1 - step_alpha;
  const at::Tensor next =
      (alpha_next.pow(0.5) * step_beta / beta) * bounded(clean(timestep, model_output, latents)) +
      (step_alpha.pow(0.5) * beta_next / beta) * latents;
  if (timestep == 0) return {next, {}};
  const at::Tensor noise =
      draw_noise(generator, model_output.sizes(), model_output.scalar_type()).to(model_output.device());
  const at::Tensor variance = (beta_next / beta * step_beta).clamp_min(kVarianceMin);
  switch (variance_) {
    case DdpmConfig::Variance::fixed_small:
      return {next + variance.pow(0.5) * noise, {}};
    case DdpmConfig::Variance::fixed_small_log:
      return {next + (0.5 * variance.log()).exp() * noise, {}};
    case DdpmConfig::Variance::fixed_large:
      break;
  }
  return {next + step_beta.pow(0.5) * noise, {}};
}

}  // namespace diffused::samplers
