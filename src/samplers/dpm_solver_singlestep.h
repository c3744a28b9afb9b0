// DPM-Solver and DPM-Solver++ in leaps: a method of order n makes n calls, each of which starts where the
// first one did and goes further with what it learnt. "DPM++ SDE" of other programs is the stochastic one of
// order 2.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/dpm_solver.h"

namespace diffused::samplers {

// scheduler_config.json of DPMSolverSinglestepScheduler; the defaults are the class's own.
struct DpmSolverSinglestepConfig {
  SolverConfig solver;
  DpmAlgorithm algorithm = DpmAlgorithm::dpmsolver_plus;
  bool heun = false;  // solver_type: midpoint or heun
  std::optional<double> lambda_min_clipped;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<DpmSolverSinglestepConfig> parse(const boost::json::object& json);
};

// The history holds where the leap began, then what the calls before converted the network's output to, the
// latest first, at most solver_order - 1 of it.
class DpmSolverSinglestep final : public SolverSampler {
 public:
  explicit DpmSolverSinglestep(const DpmSolverSinglestepConfig& config)
      : SolverSampler(config.solver, config.lambda_min_clipped), config_(config) {}

  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  int order_at(int calls, int index) const;

  DpmSolverSinglestepConfig config_;
};

}  // namespace diffused::samplers
