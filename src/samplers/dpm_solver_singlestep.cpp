// Follows diffusers 0.42.1, schedulers/scheduling_dpmsolver_singlestep.py, operation by operation.
#include "samplers/dpm_solver_singlestep.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

#include "samplers/noise.h"

namespace diffused::samplers {

Result<DpmSolverSinglestepConfig> DpmSolverSinglestepConfig::parse(const boost::json::object& object) {
  DpmSolverSinglestepConfig config;
  config.solver.lower_order_final = false;
  Options options(object);
  read_solver(options, config.solver);
  read_dpm_algorithm(options, config.algorithm, config.heun);
  options.read("lambda_min_clipped", config.lambda_min_clipped);
  // The class has no such options.
  config.solver.timestep_spacing = TimestepSpacing::linspace;
  config.solver.sigma_min = config.solver.sigma_max = std::nullopt;
  config.solver.noise.rescale_betas_zero_snr = false;
  const SolverConfig& solver = config.solver;
  if (solver.solver_order > 3) options.refuse("solver_order", "1 to 3");
  if (config.algorithm == DpmAlgorithm::sde_dpmsolver)
    options.refuse("algorithm_type", "dpmsolver, dpmsolver++ or sde-dpmsolver++");
  check_dpm_options(options, solver, config.algorithm);
  if (!is_plus(config.algorithm) && solver.threshold.thresholding)
    options.refuse("thresholding", "false for this algorithm_type");
  if (solver.use_flow_sigmas && solver.spacing != SigmaSpacing::linear)
    options.refuse("use_flow_sigmas", "the only choice of sigmas");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> DpmSolverSinglestep::schedule(const ScheduleRequest& request) const {
  const SolverConfig& solver = this->solver();
  TRY_VOID(check_steps(request, {.timesteps = takes_timesteps(solver)}));
  TRY(const double flow_shift, shift_of(request, solver.flow_shift, solver.dynamic.used));
  const auto& table = noise().sigmas();
  std::vector<double> sigmas, timesteps;
  if (solver.spacing != SigmaSpacing::linear) {
    sigmas = spaced(solver.spacing, table.back(), table.front(), static_cast<std::size_t>(request.steps));
    for (const double sigma : sigmas) {
      const double timestep = noise().timestep_at(sigma);
      timesteps.push_back(solver.spacing == SigmaSpacing::karras ? std::nearbyint(timestep) : timestep);
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

// Leaps of solver_order calls, the last of which may be cut. The last call is of order 1 where it would end a
// whole leap, or at no noise at all.
int DpmSolverSinglestep::order_at(int calls, int index) const {
  const SolverConfig& solver = this->solver();
  const int order = index % solver.solver_order + 1;
  const bool ends_leap = solver.lower_order_final && order == solver.solver_order;
  return index + 1 == calls && (solver.zero_final_sigma || ends_leap) ? 1 : order;
}

Stepped DpmSolverSinglestep::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                                  const at::Tensor& latents, const History& history,
                                  at::Generator& generator) const {
  const SolverConfig& solver = this->solver();
  const at::Tensor m0 = dpm_converted(solver, config_.algorithm, schedule, index, model_output, latents);
  std::vector<at::Tensor> outputs = {m0};  // the latest first
  if (!history.empty()) outputs.insert(outputs.end(), history.begin() + 1, history.end());
  const int order = std::min(order_at(schedule.calls(), index), static_cast<int>(outputs.size()));
  const at::Tensor sample = order == 1 ? latents : history[0];

  const auto level = [&](int place) { return solver_level(solver, schedule, place); };
  const SolverLevel t = level(index + 1), s = level(index - order + 1);
  const DpmWeights w = dpm_weights(config_.algorithm, config_.heun, t, s, order);
  const at::Tensor d0 = outputs[static_cast<std::size_t>(order - 1)];
  at::Tensor next = w.sample * sample + w.first * d0;
  // How far into the leap the call `back` before this one was.
  const auto reached = [&](int back) {
    return (level(index - back).lambda - s.lambda) / (t.lambda - s.lambda);
  };
  if (order == 2) next = next + w.second * ((1.0 / reached(0)) * (m0 - d0));
  if (order == 3) {
    const at::Tensor r0 = reached(0), r1 = reached(1);
    const at::Tensor d1_0 = (1.0 / r1) * (outputs[1] - d0), d1_1 = (1.0 / r0) * (m0 - d0);
    next = config_.heun ? next + w.second * ((r0 * d1_0 - r1 * d1_1) / (r0 - r1)) +
                              w.third * (2.0 * (d1_1 - d1_0) / (r0 - r1))
                        : next + w.second * d1_1;
  }
  if (is_stochastic(config_.algorithm))
    next = next + w.noise * draw_noise(generator, m0.sizes(), m0.scalar_type()).to(m0.device());
  History kept = {sample};
  outputs.resize(std::min(outputs.size(), static_cast<std::size_t>(solver.solver_order - 1)));
  kept.insert(kept.end(), outputs.begin(), outputs.end());
  return {next, std::move(kept)};
}

}  // namespace diffused::samplers
