// The stochastic DPM-Solver++ of k-diffusion, which A1111's users know as DPM++ SDE: two calls a step, the
// second in the step's middle.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sigma_space.h"

namespace diffused::samplers {

// scheduler_config.json of DPMSolverSDEScheduler; the defaults are the class's own.
struct DpmSolverSdeConfig {
  SigmaSpaceConfig space;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DpmSolverSdeConfig> parse(const boost::json::object& json);
};

// After a step's first call the history holds its latents and the noise that was drawn. Diffusers draws from
// a Brownian motion of its own seed; here the picture's generator draws that motion's increments.
class DpmSolverSde final : public SigmaSpace {
 public:
  explicit DpmSolverSde(const DpmSolverSdeConfig& config) : SigmaSpace(config.space) {}

  // Equal to Diffusers' set_timesteps.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
  // Of a step's middle Diffusers knows the level before it only.
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;
};

}  // namespace diffused::samplers
