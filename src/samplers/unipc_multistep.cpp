// Follows diffusers 0.42.1, schedulers/scheduling_unipc_multistep.py, operation by operation.
#include "samplers/unipc_multistep.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {
namespace {

// Before their shift, noisiest first.
Result<std::vector<double>> flow_levels_of(const ScheduleRequest& request, int train) {
  if (request.sigmas.empty()) {
    std::vector<double> sigmas = linspace(1, 1.0 / train, static_cast<std::size_t>(request.steps) + 1);
    sigmas.pop_back();
    return sigmas;
  }
  if (request.sigmas.back() > 0) return request.sigmas;
  return fail(ErrorCode::invalid_argument, "sigmas must be above 0: this scheduler goes there by itself",
              "sigmas");
}

}  // namespace

// From one level to the next by all but the network's output at the next: latents - scale · (differences
// weighted by rhos).
struct UniPcMultistep::Update {
  at::Tensor latents;      // after the step of order 1
  at::Tensor scale;        // of no dimension
  at::Tensor differences;  // [B, order - 1, …]; undefined for order 1
  at::Tensor matrix;       // [order, order]: rhos solve matrix · rhos = right
  at::Tensor right;        // [order]
};

Result<UniPcMultistepConfig> UniPcMultistepConfig::parse(const boost::json::object& object) {
  UniPcMultistepConfig config;
  Options options(object);
  read_solver(options, config.solver);
  options.read("predict_x0", config.predict_x0);
  // Those of other solvers count as bh2, as in Diffusers.
  options.read("solver_type", config.bh1,
               {{"bh1", true}, {"bh2", false}, {"midpoint", false}, {"heun", false}, {"logrho", false}});
  options.read_list("disable_corrector", config.disable_corrector);
  options.read("shift_terminal", config.shift_terminal);
  options.read("time_shift_type", config.time_shift,
               {{"exponential", TimeShift::exponential}, {"linear", TimeShift::linear}});
  if (options.has("solver_p")) options.refuse("solver_p", "absent: other predictors are not served");
  const SolverConfig& solver = config.solver;
  if (!config.predict_x0 && solver.prediction == Prediction::flow_prediction)
    options.refuse("predict_x0", "true for flow_prediction");
  if (!config.predict_x0 && solver.threshold.thresholding)
    options.refuse("thresholding", "false without predict_x0");
  if (solver.use_flow_sigmas && solver.spacing != SigmaSpacing::linear &&
      solver.spacing != SigmaSpacing::karras)
    options.refuse("use_flow_sigmas", "with none or with the karras spacing of sigmas");
  if (config.shift_terminal.value_or(0) != 0 && !solver.use_flow_sigmas)
    options.refuse("shift_terminal", "absent without use_flow_sigmas");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> UniPcMultistep::schedule(const ScheduleRequest& request) const {
  const SolverConfig& solver = this->solver();
  const bool flow_levels = solver.use_flow_sigmas && solver.spacing == SigmaSpacing::linear;
  TRY_VOID(check_steps(request, {.sigmas = flow_levels}));
  TRY(const double flow_shift, shift_of(request, solver.flow_shift, solver.dynamic.used));
  const auto steps = static_cast<std::size_t>(request.steps);
  const auto& table = noise().sigmas();
  std::vector<double> sigmas, timesteps;
  const auto add_flow_timesteps = [&] {
    for (const double sigma : sigmas) timesteps.push_back(sigma * solver.noise.num_train_timesteps);
  };
  double lowest = table.front();
  if (solver.spacing != SigmaSpacing::linear) {
    sigmas = spaced(solver.spacing, solver.sigma_max.value_or(table.back()),
                    solver.sigma_min.value_or(table.front()), steps);
    if (solver.use_flow_sigmas) {
      for (double& sigma : sigmas) sigma = sigma / (sigma + 1);
      add_flow_timesteps();
    } else {
      for (const double sigma : sigmas) {
        const double timestep = noise().timestep_at(sigma);
        timesteps.push_back(solver.spacing == SigmaSpacing::karras ? std::nearbyint(timestep) : timestep);
      }
    }
    lowest = sigmas.back();
  } else if (solver.use_flow_sigmas) {
    TRY(sigmas, flow_levels_of(request, solver.noise.num_train_timesteps));
    const double mu = solver.dynamic.mu(request);
    for (double& sigma : sigmas)
      sigma = solver.dynamic.used ? dynamic_shift(sigma, mu, config_.time_shift)
                                  : static_shift(sigma, flow_shift);
    if (config_.shift_terminal.value_or(0) != 0) stretch_to_terminal(sigmas, *config_.shift_terminal);
    // Nothing of the picture has no logarithm.
    constexpr double kLeast = 1e-6;
    if (std::abs(sigmas.front() - 1) < kLeast) sigmas.front() -= kLeast;
    add_flow_timesteps();
    lowest = sigmas.back();
  } else {
    timesteps = solver_timesteps(solver, last_timestep(), request.steps);
    for (const double timestep : timesteps) sigmas.push_back(noise().sigma_at(timestep));
  }
  return solver_schedule(sigmas, timesteps, solver.zero_final_sigma ? 0 : lowest);
}

int UniPcMultistep::order_at(const Schedule& schedule, int index) const {
  const int order = solver().solver_order;
  const int left = solver().lower_order_final ? schedule.calls() - index : order;
  return std::min({order, left, index - schedule.begin + 1});
}

UniPcMultistep::Update UniPcMultistep::update(const Schedule& schedule, int from, int order,
                                              const at::Tensor& latents,
                                              const std::vector<at::Tensor>& outputs) const {
  const auto level = [&](int index) { return solver_level(solver(), schedule, index); };
  const SolverLevel t = level(from + 1), s0 = level(from);
  const at::Tensor h = t.lambda - s0.lambda;
  std::vector<at::Tensor> ratios, differences;
  for (int i = 1; i < order; ++i) {
    ratios.push_back((level(from - i).lambda - s0.lambda) / h);
    differences.push_back((outputs[static_cast<std::size_t>(i)] - outputs[0]) / ratios.back());
  }
  ratios.push_back(at::ones({}, at::kFloat));
  const at::Tensor ratio = at::stack(ratios);  // [order]

  const at::Tensor hh = config_.predict_x0 ? -h : h;
  const at::Tensor phi_1 = at::expm1(hh);
  const at::Tensor b_h = config_.bh1 ? hh : phi_1;
  at::Tensor phi = phi_1 / hh - 1;
  std::vector<at::Tensor> rows, right;
  int factorial = 1;
  for (int i = 1; i <= order; ++i) {
    rows.push_back(ratio.pow(i - 1));
    right.push_back(phi * factorial / b_h);
    factorial *= i + 1;
    phi = phi / hh - 1.0 / factorial;
  }

  const at::Tensor& share = config_.predict_x0 ? t.alpha : t.sigma;
  const at::Tensor kept = config_.predict_x0 ? t.sigma / s0.sigma : t.alpha / s0.alpha;
  return {.latents = kept * latents - share * phi_1 * outputs[0],
          .scale = share * b_h,
          .differences = differences.empty() ? at::Tensor() : at::stack(differences, 1),
          .matrix = at::stack(rows),
          .right = at::stack(right)};
}

at::Tensor UniPcMultistep::correct(const Schedule& schedule, int index, const at::Tensor& converted,
                                   const History& history) const {
  const at::Tensor& latents = history.front();
  const std::vector<at::Tensor> outputs(history.begin() + 1, history.end());
  const int order = order_at(schedule, index - 1);
  const Update u = update(schedule, index - 1, order, latents, outputs);
  const at::Tensor rhos = (order == 1 ? at::full({1}, 0.5, at::kFloat) : at::linalg_solve(u.matrix, u.right))
                              .to(latents.options());
  at::Tensor change = rhos[-1] * (converted - outputs[0]);
  if (order > 1) change = at::einsum("k,bkc...->bc...", {rhos.slice(0, 0, -1), u.differences}) + change;
  return (u.latents - u.scale * change).to(latents.scalar_type());
}

Stepped UniPcMultistep::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                             const at::Tensor& latents, const History& history, at::Generator&) const {
  const SolverConfig& solver = this->solver();
  const at::Tensor converted = config_.predict_x0
                                   ? solver_clean(solver, schedule, index, model_output, latents)
                                   : solver_noise(solver, schedule, index, model_output, latents);
  const bool disabled =
      std::ranges::find(config_.disable_corrector, index - 1) != config_.disable_corrector.end();
  const at::Tensor sample =
      history.empty() || disabled ? latents : correct(schedule, index, converted, history);

  std::vector<at::Tensor> outputs = {converted};
  if (!history.empty()) outputs.insert(outputs.end(), history.begin() + 1, history.end());
  outputs.resize(std::min(outputs.size(), static_cast<std::size_t>(solver.solver_order)));
  const int order = order_at(schedule, index);
  const Update u = update(schedule, index, order, sample, outputs);
  at::Tensor next = u.latents;
  if (order > 1) {
    const at::Tensor rhos =
        (order == 2 ? at::full({1}, 0.5, at::kFloat)
                    : at::linalg_solve(u.matrix.slice(0, 0, -1).slice(1, 0, -1), u.right.slice(0, 0, -1)))
            .to(sample.options());
    next = next - u.scale * at::einsum("k,bkc...->bc...", {rhos, u.differences});
  }
  History kept = {sample};
  kept.insert(kept.end(), outputs.begin(), outputs.end());
  return {next.to(sample.scalar_type()), std::move(kept)};
}

}  // namespace diffused::samplers
