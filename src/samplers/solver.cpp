// Follows diffusers 0.42.1, schedulers/scheduling_dpmsolver_multistep.py and scheduling_unipc_multistep.py.
#include "samplers/solver.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {
namespace {

struct AlphaSigma {
  at::Tensor alpha, sigma;
};

AlphaSigma alpha_sigma(const SolverConfig& config, const at::Tensor& sigma) {
  if (config.use_flow_sigmas) return {1 - sigma, sigma};
  const at::Tensor alpha = 1 / (sigma.pow(2) + 1).pow(0.5);
  return {alpha, sigma * alpha};
}

at::Tensor sigma_tensor(const Schedule& schedule, int index) {
  return scalar(schedule.sigmas[static_cast<std::size_t>(index)]);
}

// How many of the training timesteps have a lambda of `least` or more.
int timesteps_from(const TrainingNoise& noise, const std::optional<double>& least) {
  if (!least) return noise.timesteps();
  const at::Tensor alphas_cumprod = at::tensor(noise.alphas_cumprod(), at::kFloat);
  const at::Tensor lambdas = alphas_cumprod.sqrt().log() - (1 - alphas_cumprod).sqrt().log();
  return (lambdas >= static_cast<float>(*least)).sum().item<int>();
}

}  // namespace

void read_solver(Options& options, SolverConfig& config) {
  read_training_noise(options, config.noise);
  options.read("solver_order", config.solver_order);
  options.read("prediction_type", config.prediction,
               {{"epsilon", Prediction::epsilon},
                {"sample", Prediction::sample},
                {"v_prediction", Prediction::v_prediction},
                {"flow_prediction", Prediction::flow_prediction}});
  read_threshold(options, config.threshold);
  options.read("lower_order_final", config.lower_order_final);
  config.spacing = read_spacing(options);
  options.read("sigma_min", config.sigma_min);
  options.read("sigma_max", config.sigma_max);
  options.read("use_flow_sigmas", config.use_flow_sigmas);
  options.read("flow_shift", config.flow_shift);
  options.read("final_sigmas_type", config.zero_final_sigma, {{"zero", true}, {"sigma_min", false}});
  read_timestep_spacing(options, config.timestep_spacing, config.steps_offset);
  // The class has no option of this name; Diffusers' pipelines then take another default than the flow
  // scheduler's own.
  config.dynamic.max_shift = 1.16;
  read_dynamic_shift(options, config.dynamic);
  if (config.flow_shift <= 0) options.refuse("flow_shift", "positive");
}

SolverLevel solver_level(const SolverConfig& config, const Schedule& schedule, int index) {
  const auto [alpha, sigma] = alpha_sigma(config, sigma_tensor(schedule, index));
  return {alpha, sigma, alpha.log() - sigma.log()};
}

at::Tensor solver_clean(const SolverConfig& config, const Schedule& schedule, int index,
                        const at::Tensor& model_output, const at::Tensor& latents) {
  const at::Tensor level = sigma_tensor(schedule, index);
  const auto [alpha, sigma] = alpha_sigma(config, level);
  at::Tensor clean;
  switch (config.prediction) {
    case Prediction::epsilon:
      clean = (latents - sigma * model_output) / alpha;
      break;
    case Prediction::sample:
      clean = model_output;
      break;
    case Prediction::v_prediction:
      clean = alpha * latents - sigma * model_output;
      break;
    case Prediction::flow_prediction:
      clean = latents - level * model_output;
      break;
  }
  return thresholded(config.threshold, clean);
}

at::Tensor solver_noise(const SolverConfig& config, const Schedule& schedule, int index,
                        const at::Tensor& model_output, const at::Tensor& latents) {
  const auto [alpha, sigma] = alpha_sigma(config, sigma_tensor(schedule, index));
  switch (config.prediction) {
    case Prediction::sample:
      return (latents - alpha * model_output) / sigma;
    case Prediction::v_prediction:
      return alpha * model_output + sigma * latents;
    case Prediction::epsilon:
    case Prediction::flow_prediction:
      break;
  }
  return model_output;
}

std::vector<double> solver_timesteps(const SolverConfig& config, int last, int steps) {
  const auto count = static_cast<std::size_t>(steps);
  std::vector<double> timesteps;
  switch (config.timestep_spacing) {
    case TimestepSpacing::linspace:
      timesteps = linspace(0, last - 1, count + 1);
      for (double& timestep : timesteps) timestep = std::nearbyint(timestep);
      break;
    case TimestepSpacing::leading:
      for (int i = 0; i <= steps; ++i) timesteps.push_back(i * (last / (steps + 1)) + config.steps_offset);
      break;
    case TimestepSpacing::trailing:
      return trailing_timesteps(last, config.noise.num_train_timesteps, steps);
  }
  std::ranges::reverse(timesteps);
  timesteps.pop_back();
  return timesteps;
}

Result<std::vector<double>> solver_timesteps(const SolverConfig& config, const TrainingNoise& noise,
                                             const ScheduleRequest& request, int last) {
  if (request.timesteps.empty()) return solver_timesteps(config, last, request.steps);
  return noise.custom_timesteps(request.timesteps, /*whole=*/true);
}

bool takes_timesteps(const SolverConfig& config) {
  return config.spacing == SigmaSpacing::linear && !config.use_flow_sigmas;
}

std::vector<double> solver_flow_sigmas(const SolverConfig& config, double shift, int steps) {
  std::vector<double> sigmas =
      linspace(1, 1.0 / config.noise.num_train_timesteps, static_cast<std::size_t>(steps) + 1);
  for (double& sigma : sigmas) sigma = static_shift(1.0 - sigma, shift);
  std::ranges::reverse(sigmas);
  sigmas.pop_back();
  return sigmas;
}

Result<Schedule> solver_schedule(const std::vector<double>& sigmas, const std::vector<double>& timesteps,
                                 double final_sigma) {
  Schedule schedule{.sigmas = {sigmas.begin(), sigmas.end()}};
  schedule.sigmas.push_back(static_cast<float>(final_sigma));
  for (const double timestep : timesteps)
    schedule.timesteps.push_back(static_cast<float>(std::trunc(timestep)));
  return finite(std::move(schedule));
}

Result<Schedule> levels_to_the_lowest(const SolverConfig& config, const TrainingNoise& noise,
                                      const SolverSteps& request) {
  const auto& table = noise.sigmas();
  std::vector<double> sigmas, timesteps;
  if (config.spacing != SigmaSpacing::linear) {
    sigmas = spaced(config.spacing, table.back(), table.front(), static_cast<std::size_t>(request.steps));
    for (const double sigma : sigmas) {
      const double timestep = noise.timestep_at(sigma);
      timesteps.push_back(config.spacing == SigmaSpacing::karras ? std::nearbyint(timestep) : timestep);
    }
    return solver_schedule(sigmas, timesteps, sigmas.back());
  }
  if (config.use_flow_sigmas) {
    sigmas = solver_flow_sigmas(config, request.flow_shift, request.steps);
    for (const double sigma : sigmas) timesteps.push_back(sigma * config.noise.num_train_timesteps);
    return solver_schedule(sigmas, timesteps, sigmas.back());
  }
  timesteps = solver_timesteps(config, request.last_timestep, request.steps);
  for (const double timestep : timesteps) sigmas.push_back(noise.sigma_at(timestep));
  return solver_schedule(sigmas, timesteps, table.front());
}

void refuse_learned_variance(Options& options) {
  bool learned = false;
  options.read("variance_type", learned,
               {{"fixed_small", false},
                {"fixed_small_log", false},
                {"fixed_large", false},
                {"fixed_large_log", false},
                {"learned", true},
                {"learned_range", true}});
  if (learned) options.refuse("variance_type", "a fixed one: learned variances are not served");
}

SolverSampler::SolverSampler(const SolverConfig& solver, const std::optional<double>& lambda_min)
    : solver_(solver), noise_(solver.noise), last_timestep_(timesteps_from(noise_, lambda_min)) {}

at::Tensor SolverSampler::clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                                         const at::Tensor& latents) const {
  return solver_clean(solver_, schedule, index, model_output, latents.to(at::kFloat)).to(at::kFloat);
}

at::Tensor SolverSampler::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                    const at::Tensor& noise) const {
  const auto [alpha, sigma] = alpha_sigma(solver_, sigma_tensor(schedule, index).to(x0.options()));
  return alpha * x0 + sigma * noise;
}

}  // namespace diffused::samplers
