// Follows diffusers 0.42.1, schedulers/scheduling_deis_multistep.py.
#include "samplers/deis_multistep.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {
namespace {

// Below this many steps the last ones are of lower order.
constexpr int kDeisFewSteps = 15;

// The integral of (log t - log c) / (log b - log c) over t.
at::Tensor integral(const at::Tensor& t, const at::Tensor& b, const at::Tensor& c) {
  return t * (-c.log() + t.log() - 1) / (b.log() - c.log());
}

// The same of the product with (log t - log d) / (log b - log d).
at::Tensor integral(const at::Tensor& t, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d) {
  const at::Tensor log_t = t.log(), log_b = b.log(), log_c = c.log(), log_d = d.log();
  const at::Tensor numerator =
      t * (log_c * (log_d - log_t + 1) - log_d * log_t + log_d + log_t.pow(2) - 2 * log_t + 2);
  return numerator / ((log_b - log_c) * (log_b - log_d));
}

}  // namespace

Result<DeisMultistepConfig> DeisMultistepConfig::parse(const boost::json::object& object) {
  DeisMultistepConfig config;
  Options options(object);
  read_solver(options, config.solver);
  SolverConfig& solver = config.solver;
  solver.noise.rescale_betas_zero_snr = false;  // the class has no such options
  solver.sigma_min = solver.sigma_max = std::nullopt;
  // Those of other solvers count as its own, as in Diffusers.
  bool own = true;
  options.read("algorithm_type", own, {{"deis", true}, {"dpmsolver", false}, {"dpmsolver++", false}});
  options.read("solver_type", own,
               {{"logrho", true}, {"midpoint", false}, {"heun", false}, {"bh1", false}, {"bh2", false}});
  if (solver.solver_order > 3) options.refuse("solver_order", "1 to 3");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> DeisMultistep::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  TRY(const double flow_shift, shift_of(request, solver().flow_shift, solver().dynamic.used));
  return levels_to_the_lowest(
      solver(), noise(),
      {.steps = request.steps,
       .last_timestep = last_timestep(),
       .flow_shift = solver().dynamic.used ? std::exp(solver().dynamic.mu(request)) : flow_shift});
}

int DeisMultistep::order_at(const Schedule& schedule, int index, const History& history) const {
  const bool few = solver().lower_order_final && schedule.calls() < kDeisFewSteps;
  const int order = std::min(solver().solver_order, static_cast<int>(history.size()) + 1);
  return few ? std::min(order, schedule.calls() - index) : order;
}

Stepped DeisMultistep::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents, const History& history, at::Generator&) const {
  const auto level = [&](int place) { return solver_level(solver(), schedule, place); };
  const auto rho = [](const SolverLevel& at) { return at.sigma / at.alpha; };
  const SolverLevel t = level(index + 1), s0 = level(index);
  const at::Tensor m0 =
      (latents - s0.alpha * solver_clean(solver(), schedule, index, model_output, latents)) / s0.sigma;
  const int order = order_at(schedule, index, history);
  at::Tensor next;
  if (order == 1) {
    const at::Tensor h = t.lambda - s0.lambda;
    next = (t.alpha / s0.alpha) * latents - (t.sigma * (h.exp() - 1.0)) * m0;
  } else if (order == 2) {
    const at::Tensor rho_t = rho(t), rho_0 = rho(s0), rho_1 = rho(level(index - 1));
    const at::Tensor first = integral(rho_t, rho_0, rho_1) - integral(rho_0, rho_0, rho_1),
                     second = integral(rho_t, rho_1, rho_0) - integral(rho_0, rho_1, rho_0);
    next = t.alpha * (latents / s0.alpha + first * m0 + second * history[0]);
  } else {
    const at::Tensor rho_t = rho(t), rho_0 = rho(s0), rho_1 = rho(level(index - 1)),
                     rho_2 = rho(level(index - 2));
    const at::Tensor first = integral(rho_t, rho_0, rho_1, rho_2) - integral(rho_0, rho_0, rho_1, rho_2),
                     second = integral(rho_t, rho_1, rho_2, rho_0) - integral(rho_0, rho_1, rho_2, rho_0),
                     third = integral(rho_t, rho_2, rho_0, rho_1) - integral(rho_0, rho_2, rho_0, rho_1);
    next = t.alpha * (latents / s0.alpha + first * m0 + second * history[0] + third * history[1]);
  }
  History kept = {m0};
  kept.insert(kept.end(), history.begin(), history.end());
  kept.resize(std::min(kept.size(), static_cast<std::size_t>(solver().solver_order - 1)));
  return {next, std::move(kept)};
}

}  // namespace diffused::samplers
