// Samplers of networks that were trained by continuous noise levels: Karras et al. 2022, "Elucidating the
// Design Space of Diffusion-Based Generative Models" (EDM). Playground v2.5 and CosXL. No betas: a level is
// what it is.
#pragma once

#include <boost/json/object.hpp>

#include "samplers/dpm_solver.h"
#include "samplers/sigma_space.h"

namespace diffused::samplers {

// What EDMEulerScheduler and EDMDPMSolverMultistepScheduler both know, by Diffusers' names.
struct EdmConfig {
  double sigma_min = 0.002, sigma_max = 80.0, sigma_data = 0.5, rho = 7.0;
  bool exponential = false;      // sigma_schedule; else karras
  bool v_prediction = false;     // else epsilon
  bool zero_final_sigma = true;  // final_sigmas_type
  // Of the multistep solver alone.
  DpmMultistep solver;
  ThresholdConfig threshold;

  // Unknown keys are ignored, absent and null ones take the defaults. Error: data_loss, with the key as
  // field.
  static Result<EdmConfig> parse(const boost::json::object& json);
  static Result<EdmConfig> parse_dpm(const boost::json::object& json);
};

class EdmSpace : public VarianceExploding {
 public:
  float first_noise(const Schedule& schedule) const override;
  at::Tensor network_input(const Schedule& schedule, int index, const at::Tensor& latents) const override;

 protected:
  explicit EdmSpace(const EdmConfig& config) : config_(config) {}

  const EdmConfig& config() const { return config_; }
  // Levels and what the network is told of them; `dtype`: that of Diffusers' arithmetic before it rounds to
  // float32.
  Result<Schedule> schedule_of(int steps, at::ScalarType dtype, bool ends_at_last) const;
  at::Tensor clean(const Schedule& schedule, int index, const at::Tensor& model_output,
                   const at::Tensor& latents) const override;

 private:
  EdmConfig config_;
};

class EdmEuler final : public EdmSpace {
 public:
  explicit EdmEuler(const EdmConfig& config) : EdmSpace(config) {}
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
};

class EdmDpmSolver final : public EdmSpace {
 public:
  explicit EdmDpmSolver(const EdmConfig& config) : EdmSpace(config) {}
  Result<Schedule> schedule(const ScheduleRequest& request) const override;
  Stepped step(const Schedule& schedule, int index, const at::Tensor& model_output, const at::Tensor& latents,
               const History& history, at::Generator& generator) const override;
};

}  // namespace diffused::samplers
