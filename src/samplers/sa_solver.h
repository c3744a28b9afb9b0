// Stochastic Adams solver, a predictor and a corrector of order 1 to 4: Xue et al. 2023, "SA-Solver:
// Stochastic Adams Solver for Fast Sampling of Diffusion Models".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/solver.h"

namespace diffused::samplers {

// scheduler_config.json of SASolverScheduler; the defaults are the class's own.
struct SaSolverConfig {
  SolverConfig solver;
  int predictor_order = 2, corrector_order = 2;
  bool predict_x0 = true;  // algorithm_type: data_prediction or noise_prediction
  std::optional<double> lambda_min_clipped;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<SaSolverConfig> parse(const boost::json::object& json);
};

// The history holds the latents of the step before, its noise, and what the steps before went by, the latest
// first.
class SaSolver final : public SolverSampler {
 public:
  explicit SaSolver(const SaSolverConfig& config)
      : SolverSampler(config.solver, config.lambda_min_clipped), config_(config) {}

  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 private:
  struct Adams;
  at::Tensor integrate(const Schedule& schedule, const Adams& step) const;
  std::vector<at::Tensor> coefficients(const Schedule& schedule, const Adams& step) const;

  SaSolverConfig config_;
};

}  // namespace diffused::samplers
