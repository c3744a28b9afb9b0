// The midpoint method in sigma, plain and ancestral (k-diffusion's DPM2): the network is called at the start
// of each step and, for all but the last, at its middle in log sigma.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/sigma_space.h"

namespace diffused::samplers {

// scheduler_config.json of KDPM2DiscreteScheduler and of KDPM2AncestralDiscreteScheduler; the defaults are
// the classes' own.
struct KDpm2DiscreteConfig {
  SigmaSpaceConfig space;
  bool ancestral = false;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<KDpm2DiscreteConfig> parse(const boost::json::object& json);
  static Result<KDpm2DiscreteConfig> parse_ancestral(const boost::json::object& json);
};

// Between a step's two calls the history holds where the step began.
class KDpm2Discrete final : public SigmaSpace {
 public:
  explicit KDpm2Discrete(const KDpm2DiscreteConfig& config) : SigmaSpace(config.space), config_(config) {}

  // Equal to Diffusers' set_timesteps in every bit; its sigmas and its sigmas_interpol take turns.
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
  // What is kept stands at the end of the step already when the network is called in its middle.
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 private:
  KDpm2DiscreteConfig config_;
};

}  // namespace diffused::samplers
