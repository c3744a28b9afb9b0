// DPM-Solver and DPM-Solver++ with their stochastic forms, of order 1 to 3, each step from the outputs of the
// steps before.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/dpm_solver.h"

namespace diffused::samplers {

// scheduler_config.json of DPMSolverMultistepScheduler; the defaults are the class's own.
struct DpmSolverMultistepConfig {
  SolverConfig solver;
  DpmAlgorithm algorithm = DpmAlgorithm::dpmsolver_plus;
  bool heun = false;  // solver_type: midpoint or heun
  bool euler_at_final = false;
  bool use_lu_lambdas = false;
  std::optional<double> lambda_min_clipped;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DpmSolverMultistepConfig> parse(const boost::json::object& json);
};

// The history holds what the steps before converted the network's output to, at most solver_order - 1 of it.
class DpmSolverMultistep final : public SolverSampler {
 public:
  explicit DpmSolverMultistep(const DpmSolverMultistepConfig& config)
      : SolverSampler(config.solver, config.lambda_min_clipped), config_(config) {}

  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  DpmSolverMultistepConfig config_;
};

}  // namespace diffused::samplers
