// UniPC: each step predicts, and corrects the latents it starts from by the network's output for them: Zhao
// et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models".
#pragma once

#include <boost/json/object.hpp>

#include "samplers/solver.h"

namespace diffused::samplers {

// scheduler_config.json of UniPCMultistepScheduler; the defaults are the class's own.
struct UniPcMultistepConfig {
  SolverConfig solver;
  bool predict_x0 = true;
  bool bh1 = false;  // solver_type: bh1 or bh2
  std::vector<double> disable_corrector;
  std::optional<double> shift_terminal;
  TimeShift time_shift = TimeShift::exponential;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<UniPcMultistepConfig> parse(const boost::json::object& json);
};

// The history holds the latents from which the last step was predicted, then what the steps before converted
// the network's output to, at most solver_order of it.
class UniPcMultistep final : public SolverSampler {
 public:
  explicit UniPcMultistep(const UniPcMultistepConfig& config)
      : SolverSampler(config.solver), config_(config) {}

  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;

 private:
  struct Update;

  int order_at(const Schedule& schedule, int index) const;
  Update update(const Schedule& schedule, int from, int order, const at::Tensor& latents,
                const std::vector<at::Tensor>& outputs) const;
  at::Tensor correct(const Schedule& schedule, int index, const at::Tensor& converted,
                     const History& history) const;

  UniPcMultistepConfig config_;
};

}  // namespace diffused::samplers
