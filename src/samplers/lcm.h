// Few-step samplers for distilled networks. LCM goes to the picture and adds fresh noise: Luo et al. 2023,
// "Latent Consistency Models". TCD goes along the trajectory, with as much noise as eta says: Zheng et al.
// 2024, "Trajectory Consistency Distillation".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/alpha_space.h"

namespace diffused::samplers {

// scheduler_config.json of LCMScheduler and TCDScheduler; the defaults are the classes' own.
struct LcmConfig {
  AlphaSpaceConfig space;
  bool trajectory = false;            // TCD
  int original_inference_steps = 50;  // those of the distillation, of which a run takes some
  double timestep_scaling = 10.0;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<LcmConfig> parse(const boost::json::object& json);
  static Result<LcmConfig> parse_tcd(const boost::json::object& json);
};

class Lcm final : public AlphaSpace {
 public:
  explicit Lcm(const LcmConfig& config) : AlphaSpace(config.space), config_(config) {}

  // Equal to Diffusers' set_timesteps. Error: invalid_argument, when there are more steps than the
  // distillation had.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  LcmConfig config_;
};

}  // namespace diffused::samplers
