// Linear multistep method in sigma: the direction is a polynomial through the latest four, integrated over
// the step.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sigma_space.h"

namespace diffused::samplers {

// scheduler_config.json of LMSDiscreteScheduler; the defaults are the class's own.
struct LmsDiscreteConfig {
  SigmaSpaceConfig space;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<LmsDiscreteConfig> parse(const boost::json::object& json);
};

// The history holds the latest directions.
class LmsDiscrete final : public SigmaSpace {
 public:
  explicit LmsDiscrete(const LmsDiscreteConfig& config) : SigmaSpace(config.space) {}

  // Equal to Diffusers' set_timesteps in every bit.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
};

}  // namespace diffused::samplers
