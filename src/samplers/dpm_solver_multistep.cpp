// Follows diffusers 0.42.1, schedulers/scheduling_dpmsolver_multistep.py, operation by operation.
#include "samplers/dpm_solver_multistep.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {

Result<DpmSolverMultistepConfig> DpmSolverMultistepConfig::parse(const boost::json::object& object) {
  DpmSolverMultistepConfig config;
  Options options(object);
  read_solver(options, config.solver);
  read_dpm_algorithm(options, config.algorithm, config.heun);
  options.read("euler_at_final", config.euler_at_final);
  options.read("use_lu_lambdas", config.use_lu_lambdas);
  options.read("lambda_min_clipped", config.lambda_min_clipped);

  const SolverConfig& solver = config.solver;
  const int orders = config.algorithm == DpmAlgorithm::sde_dpmsolver ? 2 : 3;
  if (solver.solver_order > orders) options.refuse("solver_order", orders == 2 ? "1 or 2" : "1 to 3");
  check_dpm_options(options, solver, config.algorithm);
  if (solver.use_flow_sigmas && (solver.spacing != SigmaSpacing::linear || config.use_lu_lambdas))
    options.refuse("use_flow_sigmas", "the only choice of sigmas");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

DpmSolverMultistep::DpmSolverMultistep(const DpmSolverMultistepConfig& config)
    : config_(config),
      noise_(config.solver.noise),
      timesteps_(timesteps_from(noise_, config.lambda_min_clipped)) {}

Result<Schedule> DpmSolverMultistep::schedule(const ScheduleRequest& request) const {
  const SolverConfig& solver = config_.solver;
  TRY_VOID(check_steps(request, {.timesteps = takes_timesteps(solver) && !config_.use_lu_lambdas}));
  TRY(const double flow_shift, shift_of(request, solver.flow_shift, solver.dynamic.used));
  const auto steps = static_cast<std::size_t>(request.steps);
  const auto& table = noise_.sigmas();
  std::vector<double> sigmas, timesteps;
  if (solver.spacing != SigmaSpacing::linear || config_.use_lu_lambdas) {
    const double first = solver.sigma_max.value_or(table.back()),
                 last = solver.sigma_min.value_or(table.front());
    if (solver.spacing != SigmaSpacing::linear) {
      sigmas = spaced(solver.spacing, first, last, steps);
    } else {
      sigmas = linspace(0, 1, steps);
      const double highest = noise_.log_sigmas().back(), lowest = noise_.log_sigmas().front();
      for (double& sigma : sigmas) sigma = std::exp(highest + sigma * (lowest - highest));
    }
    const bool rounded = (solver.spacing == SigmaSpacing::karras || config_.use_lu_lambdas) &&
                         solver.noise.beta_schedule != BetaSchedule::squaredcos_cap_v2;
    for (const double sigma : sigmas) {
      const double timestep = noise_.timestep_at(sigma);
      timesteps.push_back(rounded ? std::nearbyint(timestep) : timestep);
    }
  } else if (solver.use_flow_sigmas) {
    const double shift = solver.dynamic.used ? std::exp(solver.dynamic.mu(request.image_tokens)) : flow_shift;
    sigmas = solver_flow_sigmas(solver, shift, request.steps);
    for (const double sigma : sigmas) timesteps.push_back(sigma * solver.noise.num_train_timesteps);
  } else {
    TRY(timesteps, solver_timesteps(solver, noise_, request, timesteps_));
    for (const double timestep : timesteps) sigmas.push_back(noise_.sigma_at(timestep));
  }
  return solver_schedule(sigmas, timesteps, solver.zero_final_sigma ? 0 : table.front());
}

Stepped DpmSolverMultistep::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                                 const at::Tensor& latents, const History& history,
                                 at::Generator& generator) const {
  const SolverConfig& solver = config_.solver;
  const at::Tensor m0 = dpm_converted(solver, config_.algorithm, schedule, index, model_output, latents);
  const DpmMultistep method{.algorithm = config_.algorithm,
                            .heun = config_.heun,
                            .solver_order = solver.solver_order,
                            .lower_order_final = solver.lower_order_final,
                            .euler_at_final = config_.euler_at_final,
                            .zero_final_sigma = solver.zero_final_sigma};
  const auto level = [&](int place) { return solver_level(solver, schedule, place); };
  return dpm_multistep(method, {schedule, index, level, latents, history}, m0, generator);
}

at::Tensor DpmSolverMultistep::clean_estimate(const Schedule& schedule, int index,
                                              const at::Tensor& model_output,
                                              const at::Tensor& latents) const {
  return solver_clean(config_.solver, schedule, index, model_output, latents.to(at::kFloat));
}

at::Tensor DpmSolverMultistep::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                         const at::Tensor& noise) const {
  return solver_add_noise(config_.solver, schedule, index, x0, noise);
}

}  // namespace diffused::samplers
