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

Result<Schedule> DpmSolverMultistep::schedule(const ScheduleRequest& request) const {
  const SolverConfig& solver = this->solver();
  TRY_VOID(check_steps(request, {.timesteps = takes_timesteps(solver) && !config_.use_lu_lambdas}));
  TRY(const double flow_shift, shift_of(request, solver.flow_shift, solver.dynamic.used));
  const auto steps = static_cast<std::size_t>(request.steps);
  const auto& table = noise().sigmas();
  std::vector<double> sigmas, timesteps;
  if (solver.spacing != SigmaSpacing::linear || config_.use_lu_lambdas) {
    const double first = solver.sigma_max.value_or(table.back()),
                 last = solver.sigma_min.value_or(table.front());
    if (solver.spacing != SigmaSpacing::linear) {
      sigmas = spaced(solver.spacing, first, last, steps);
    } else {
      sigmas = linspace(0, 1, steps);
      const double highest = noise().log_sigmas().back(), lowest = noise().log_sigmas().front();
      for (double& sigma : sigmas) sigma = std::exp(highest + sigma * (lowest - highest));
    }
    const bool rounded = (solver.spacing == SigmaSpacing::karras || config_.use_lu_lambdas) &&
                         solver.noise.beta_schedule != BetaSchedule::squaredcos_cap_v2;
    for (const double sigma : sigmas) {
      const double timestep = noise().timestep_at(sigma);
      timesteps.push_back(rounded ? std::nearbyint(timestep) : timestep);
    }
  } else if (solver.use_flow_sigmas) {
    const double shift = solver.dynamic.used ? std::exp(solver.dynamic.mu(request)) : flow_shift;
    sigmas = solver_flow_sigmas(solver, shift, request.steps);
    for (const double sigma : sigmas) timesteps.push_back(sigma * solver.noise.num_train_timesteps);
  } else {
    TRY(timesteps, solver_timesteps(solver, noise(), request, last_timestep()));
    for (const double timestep : timesteps) sigmas.push_back(noise().sigma_at(timestep));
  }
  return solver_schedule(sigmas, timesteps, solver.zero_final_sigma ? 0 : table.front());
}

Stepped DpmSolverMultistep::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                                 const at::Tensor& latents, const History& history,
                                 at::Generator& generator) const {
  const SolverConfig& solver = this->solver();
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

}  // namespace diffused::samplers
