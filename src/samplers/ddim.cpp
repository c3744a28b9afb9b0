// Follows diffusers 0.42.1, schedulers/scheduling_ddim.py.
#include "samplers/ddim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/pow.h>

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
                   const at::Tensor& latents, const History&, at::Generator&) const {
  const int timestep = timestep_of(schedule, index);
  const at::Tensor alpha_next = alpha_at(timestep - train_timesteps() / schedule.calls());
  return {alpha_next.pow(0.5) * bounded(clean(timestep, model_output, latents)) +
              (1 - alpha_next).pow(0.5) * noise(timestep, model_output, latents),
          {}};
}

}  // namespace diffused::samplers
