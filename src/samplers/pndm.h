// Pseudo numerical methods: a linear multistep method on the network's outputs, begun by Runge-Kutta steps
// or, as Stable Diffusion does, by one step taken twice: Liu et al. 2022, "Pseudo Numerical Methods for
// Diffusion Models on Manifolds".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/alpha_space.h"

namespace diffused::samplers {

// scheduler_config.json of PNDMScheduler; the defaults are the class's own.
struct PndmConfig {
  AlphaSpaceConfig space;
  bool skip_prk_steps = false;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<PndmConfig> parse(const boost::json::object& json);
};

// The history holds the latest outputs; before them, while a step is taken in several calls, the latents
// where it began and, in a Runge-Kutta step, the sum of its outputs so far.
class Pndm final : public AlphaSpace {
 public:
  explicit Pndm(const PndmConfig& config) : AlphaSpace(config.space), config_(config) {}

  // Equal to Diffusers' set_timesteps. Error: invalid_argument, for too few steps to begin with.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  int stride(const Schedule& schedule) const;
  Stepped runge_kutta(const Schedule& schedule, int index, const at::Tensor& model_output,
                      const at::Tensor& latents, const History& history) const;
  Stepped multistep(const Schedule& schedule, int index, const at::Tensor& model_output,
                    const at::Tensor& latents, const History& history) const;
  at::Tensor transfer(const at::Tensor& latents, int timestep, int timestep_next,
                      const at::Tensor& output) const;

  PndmConfig config_;
};

}  // namespace diffused::samplers
