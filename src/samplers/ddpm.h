// DDPM's own, ancestral sampling: Ho et al. 2020, "Denoising Diffusion Probabilistic Models".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/alpha_space.h"

namespace diffused::samplers {

// scheduler_config.json of DDPMScheduler; the defaults are the class's own.
struct DdpmConfig {
  AlphaSpaceConfig space;
  enum class Variance { fixed_small, fixed_small_log, fixed_large } variance = Variance::fixed_small;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DdpmConfig> parse(const boost::json::object& json);
};

class Ddpm final : public AlphaSpace {
 public:
  explicit Ddpm(const DdpmConfig& config) : AlphaSpace(config.space), variance_(config.variance) {}

  // Equal to Diffusers' set_timesteps.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  DdpmConfig::Variance variance_;
};

}  // namespace diffused::samplers
