// Euler's method in sigma, plain and ancestral: a step that goes too far down and adds fresh noise.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sigma_space.h"

namespace diffused::samplers {

// scheduler_config.json of EulerDiscreteScheduler and, with fewer options, of
// EulerAncestralDiscreteScheduler; the defaults are the classes' own.
struct EulerDiscreteConfig {
  SigmaSpaceConfig space;
  bool ancestral = false;
  bool log_linear = false;       // interpolation_type
  bool zero_final_sigma = true;  // final_sigmas_type

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<EulerDiscreteConfig> parse(const boost::json::object& json);
  static Result<EulerDiscreteConfig> parse_ancestral(const boost::json::object& json);
};

class EulerDiscrete final : public SigmaSpace {
 public:
  explicit EulerDiscrete(const EulerDiscreteConfig& config) : SigmaSpace(config.space), config_(config) {}

  // Equal to Diffusers' set_timesteps in every bit.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  Result<Schedule> schedule_of(const std::vector<double>& sigmas) const;

  EulerDiscreteConfig config_;
};

}  // namespace diffused::samplers
