// Follows diffusers 0.42.1, schedulers/scheduling_ddim.py.
#include "samplers/ddim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/pow.h>

#include "samplers/noise.h"

namespace diffused::samplers {

Result<DdimConfig> DdimConfig::parse(const boost::json::object& object) {
  DdimConfig config;
  config.space.clip_sample = true;
  Options options(object);
  read_alpha_space(options, config.space, /*tells_sample=*/true);
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> Ddim::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  return schedule_of(timesteps(request.steps));
}

Stepped Ddim::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                   const at::Tensor& latents, const History&, at::Generator& generator) const {
  const int timestep = timestep_of(schedule, index);
  const at::Tensor alpha = alpha_at(timestep),
                   alpha_next = alpha_at(timestep - train_timesteps() / schedule.calls());
  // The deviation of the noise that is drawn: equation 16.
  const at::Tensor drawn =
      schedule.eta * ((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)).pow(0.5);
  const at::Tensor next = alpha_next.pow(0.5) * bounded(clean(timestep, model_output, latents)) +
                          (1 - alpha_next - drawn.pow(2)).pow(0.5) * noise(timestep, model_output, latents);
  if (schedule.eta == 0) return {next, {}};
  const at::Tensor unit = draw_noise(generator, model_output.sizes(), model_output.scalar_type());
  return {next + drawn * unit.to(next.device()), {}};
}

}  // namespace diffused::samplers
