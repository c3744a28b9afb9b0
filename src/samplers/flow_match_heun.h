// Heun's second-order steps along the path of a rectified flow: the network is called at both ends of each
// step but the last, and the step taken again with the mean of the two directions.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sampler.h"

namespace diffused::samplers {

// scheduler_config.json of FlowMatchHeunDiscreteScheduler; the defaults are the class's own.
struct FlowMatchHeunConfig {
  int num_train_timesteps = 1000;
  double shift = 1.0;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<FlowMatchHeunConfig> parse(const boost::json::object& json);
};

// Between a step's two calls the history holds where the step began and its first direction.
class FlowMatchHeun final : public FlowSampler {
 public:
  explicit FlowMatchHeun(const FlowMatchHeunConfig& config) : config_(config) {}

  // Equal to Diffusers' set_timesteps in every bit; the shift acts twice, as in FlowMatchEuler. Custom sigmas
  // are not known to this method: unsupported.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 private:
  FlowMatchHeunConfig config_;
};

}  // namespace diffused::samplers
