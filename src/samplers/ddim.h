// DDIM, with as much noise as eta says, from none to DDPM's: Song et al. 2020, "Denoising Diffusion Implicit
// Models".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/alpha_space.h"

namespace diffused::samplers {

// scheduler_config.json of DDIMScheduler; the defaults are the class's own.
struct DdimConfig {
  AlphaSpaceConfig space;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DdimConfig> parse(const boost::json::object& json);
};

class Ddim final : public AlphaSpace {
 public:
  explicit Ddim(const DdimConfig& config) : AlphaSpace(config.space) {}

  // Equal to Diffusers' set_timesteps.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
};

}  // namespace diffused::samplers
