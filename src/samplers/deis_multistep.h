// DEIS by log rho, of order 1 to 3: Zhang & Chen 2022, "Fast Sampling of Diffusion Models with Exponential
// Integrator".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/solver.h"

namespace diffused::samplers {

// scheduler_config.json of DEISMultistepScheduler; the defaults are the class's own.
struct DeisMultistepConfig {
  SolverConfig solver;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DeisMultistepConfig> parse(const boost::json::object& json);
};

// The history holds the noises of the steps before, at most solver_order - 1 of them.
class DeisMultistep final : public SolverSampler {
 public:
  explicit DeisMultistep(const DeisMultistepConfig& config) : SolverSampler(config.solver) {}

  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  int order_at(const Schedule& schedule, int index, const History& history) const;
};

}  // namespace diffused::samplers
