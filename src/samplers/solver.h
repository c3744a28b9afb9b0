// What the multistep solvers share (DPM-Solver, UniPC): their options, the noise levels they choose from, and
// what a network's output says about the picture.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "samplers/flow.h"
#include "samplers/options.h"
#include "samplers/sampler.h"
#include "samplers/sigma_spacing.h"
#include "samplers/threshold.h"
#include "samplers/training_noise.h"

namespace diffused::samplers {

// The options that all solvers know, by Diffusers' names.
struct SolverConfig {
  TrainingNoiseConfig noise;
  int solver_order = 2;
  Prediction prediction = Prediction::epsilon;
  ThresholdConfig threshold;
  bool lower_order_final = true;
  SigmaSpacing spacing = SigmaSpacing::linear;
  std::optional<double> sigma_min, sigma_max;  // the ends of the karras, exponential and beta spacings
  bool use_flow_sigmas = false;
  double flow_shift = 1.0;
  bool zero_final_sigma = true;  // final_sigmas_type
  TimestepSpacing timestep_spacing = TimestepSpacing::linspace;
  int steps_offset = 0;
  DynamicShift dynamic;
};
void read_solver(Options& options, SolverConfig& config);

// A noise level in its three guises, each of no dimension: latents are alpha of the picture and sigma of the
// noise; lambda = log(alpha / sigma).
struct SolverLevel {
  at::Tensor alpha, sigma, lambda;
};
SolverLevel solver_level(const SolverConfig& config, const Schedule& schedule, int index);

// The picture that the network's output for call `index` points to, in the dtype that its arithmetic gives;
// thresholded when the options say so. Shapes as latents.
at::Tensor solver_clean(const SolverConfig& config, const Schedule& schedule, int index,
                        const at::Tensor& model_output, const at::Tensor& latents);
// The noise likewise.
at::Tensor solver_noise(const SolverConfig& config, const Schedule& schedule, int index,
                        const at::Tensor& model_output, const at::Tensor& latents);

// The timesteps of `steps` steps below `last`, noisiest first: whole numbers.
std::vector<double> solver_timesteps(const SolverConfig& config, int last, int steps);

// The request's own, cut to whole ones, if it has some. Error: as TrainingNoise::custom_timesteps.
Result<std::vector<double>> solver_timesteps(const SolverConfig& config, const TrainingNoise& noise,
                                             const ScheduleRequest& request, int last);

// Whether the config leaves timesteps of one's own a meaning.
bool takes_timesteps(const SolverConfig& config);

// A flow's noise levels for so many steps, noisiest first.
std::vector<double> solver_flow_sigmas(const SolverConfig& config, double shift, int steps);

// The schedule of these noise levels and timesteps (which are cut to whole numbers), ending at `final_sigma`.
// Error: invalid_argument, when a level is no finite number.
Result<Schedule> solver_schedule(const std::vector<double>& sigmas, const std::vector<double>& timesteps,
                                 double final_sigma);

// A schedule that ends at the lowest level it has (DEIS, SA-Solver), not at none: by the config's spacing, by
// a flow's levels or by timesteps.
struct SolverSteps {
  int steps = 0, last_timestep = 0;
  double flow_shift = 1;
};
Result<Schedule> levels_to_the_lowest(const SolverConfig& config, const TrainingNoise& noise,
                                      const SolverSteps& request);

// Networks that tell variances are not served.
void refuse_learned_variance(Options& options);

// What all samplers of this kind hold and answer.
class SolverSampler : public Sampler {
 public:
  at::Tensor clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 protected:
  // `lambda_min`: the training timesteps of less are left out.
  explicit SolverSampler(const SolverConfig& solver, const std::optional<double>& lambda_min = {});

  const SolverConfig& solver() const { return solver_; }
  const TrainingNoise& noise() const { return noise_; }
  int last_timestep() const { return last_timestep_; }  // how many are left

 private:
  SolverConfig solver_;
  TrainingNoise noise_;
  int last_timestep_;
};

}  // namespace diffused::samplers
