// Heun's second-order method in sigma: the network is called at both ends of each step but the last.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sigma_space.h"

namespace diffused::samplers {

// scheduler_config.json of HeunDiscreteScheduler; the defaults are the class's own.
struct HeunDiscreteConfig {
  SigmaSpaceConfig space;
  bool clip_sample = false;
  double clip_sample_range = 1.0;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<HeunDiscreteConfig> parse(const boost::json::object& json);
};

// Between a step's two calls the history holds where the step began and its first direction.
class HeunDiscrete final : public SigmaSpace {
 public:
  explicit HeunDiscrete(const HeunDiscreteConfig& config) : SigmaSpace(config.space), config_(config) {}

  // Equal to Diffusers' set_timesteps in every bit.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  HeunDiscreteConfig config_;
};

}  // namespace diffused::samplers
