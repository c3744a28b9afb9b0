// Euler steps along the straight path from noise to picture (rectified flow).
#pragma once

#include <boost/json/object.hpp>
#include <optional>

#include "samplers/flow.h"
#include "samplers/sampler.h"
#include "samplers/sigma_spacing.h"

namespace diffused::samplers {

// scheduler_config.json of FlowMatchEulerDiscreteScheduler; the defaults are the class's own.
struct FlowMatchEulerConfig {
  int num_train_timesteps = 1000;
  double shift = 1.0;
  DynamicShift dynamic;
  bool invert_sigmas = false;
  std::optional<double> shift_terminal;
  SigmaSpacing spacing = SigmaSpacing::linear;
  TimeShift time_shift = TimeShift::exponential;
  bool stochastic_sampling = false;
  std::optional<double> sigma_min, sigma_max;  // the ends of the karras, exponential and beta spacings

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<FlowMatchEulerConfig> parse(const boost::json::object& json);
};

class FlowMatchEuler final : public FlowSampler {
 public:
  explicit FlowMatchEuler(const FlowMatchEulerConfig& config) : config_(config) {}

  bool takes_sigmas() const override { return true; }
  // Equal to Diffusers' set_timesteps in every bit, and so is its double shift: a shift ≠ 1 acts once on the
  // ends of the range, as when Diffusers constructs the scheduler, and once more on every value.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  FlowMatchEulerConfig config_;
};

}  // namespace diffused::samplers
