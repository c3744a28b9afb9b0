// Follows diffusers 0.42.1, schedulers/scheduling_dpmsolver_multistep.py and
// scheduling_dpmsolver_singlestep.py, operation by operation.
#include "samplers/dpm_solver.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sqrt.h>

#include <algorithm>

namespace diffused::samplers {
namespace {

// Below this many steps the last ones are of lower order.
constexpr int kFewSteps = 15;

}  // namespace

bool is_stochastic(DpmAlgorithm algorithm) {
  return algorithm == DpmAlgorithm::sde_dpmsolver || algorithm == DpmAlgorithm::sde_dpmsolver_plus;
}
bool is_plus(DpmAlgorithm algorithm) {
  return algorithm == DpmAlgorithm::dpmsolver_plus || algorithm == DpmAlgorithm::sde_dpmsolver_plus;
}

void read_dpm_algorithm(Options& options, DpmAlgorithm& algorithm, bool& heun) {
  options.read("algorithm_type", algorithm,
               {{"dpmsolver++", DpmAlgorithm::dpmsolver_plus},
                {"dpmsolver", DpmAlgorithm::dpmsolver},
                {"sde-dpmsolver++", DpmAlgorithm::sde_dpmsolver_plus},
                {"sde-dpmsolver", DpmAlgorithm::sde_dpmsolver},
                {"deis", DpmAlgorithm::dpmsolver_plus}});
  // Those of other solvers count as midpoint, as in Diffusers.
  options.read("solver_type", heun,
               {{"midpoint", false}, {"heun", true}, {"logrho", false}, {"bh1", false}, {"bh2", false}});
}

void check_dpm_options(Options& options, const SolverConfig& solver, DpmAlgorithm algorithm) {
  refuse_learned_variance(options);
  if (!is_plus(algorithm) && solver.zero_final_sigma)
    options.refuse("final_sigmas_type", "sigma_min for this algorithm_type");
  if (!is_plus(algorithm) && solver.prediction == Prediction::flow_prediction)
    options.refuse("prediction_type", "another one for this algorithm_type");
}

DpmWeights dpm_weights(DpmAlgorithm algorithm, bool heun, const SolverLevel& t, const SolverLevel& s,
                       int order) {
  const at::Tensor h = t.lambda - s.lambda;
  const bool midpoint = !heun && order == 2;
  DpmWeights w;
  switch (algorithm) {
    case DpmAlgorithm::dpmsolver_plus: {
      const at::Tensor e = (-h).exp() - 1.0;
      w.sample = t.sigma / s.sigma;
      w.first = -(t.alpha * e);
      w.second = midpoint ? 0.5 * w.first : t.alpha * (e / h + 1.0);
      w.third = -(t.alpha * ((e + h) / h.pow(2) - 0.5));
      break;
    }
    case DpmAlgorithm::dpmsolver: {
      const at::Tensor e = h.exp() - 1.0;
      w.sample = t.alpha / s.alpha;
      w.first = -(t.sigma * e);
      w.second = midpoint ? 0.5 * w.first : -(t.sigma * (e / h - 1.0));
      w.third = -(t.sigma * ((e - h) / h.pow(2) - 0.5));
      break;
    }
    case DpmAlgorithm::sde_dpmsolver_plus: {
      const at::Tensor e = 1.0 - (-2.0 * h).exp();
      w.sample = t.sigma / s.sigma * (-h).exp();
      w.first = t.alpha * e;
      w.second = midpoint ? 0.5 * w.first : t.alpha * (e / (-2.0 * h) + 1.0);
      w.third = t.alpha * ((e - 2.0 * h) / (2.0 * h).pow(2) - 0.5);
      w.noise = t.sigma * e.sqrt();
      break;
    }
    case DpmAlgorithm::sde_dpmsolver: {
      const at::Tensor e = h.exp() - 1.0;
      w.sample = t.alpha / s.alpha;
      w.first = -2.0 * (t.sigma * e);
      w.second = midpoint ? -(t.sigma * e) : -2.0 * (t.sigma * (e / h - 1.0));
      w.noise = t.sigma * ((2 * h).exp() - 1.0).sqrt();
      break;
    }
  }
  return w;
}

int DpmMultistep::order_at(const Schedule& schedule, int index, const History& history) const {
  const bool few = lower_order_final && schedule.calls() < kFewSteps;
  const int left = schedule.calls() - index;
  int order = std::min(solver_order, static_cast<int>(history.size()) + 1);
  if (left == 1 && (euler_at_final || few || zero_final_sigma)) order = 1;
  if (left == 2 && few) order = std::min(order, 2);
  return order;
}

Stepped dpm_multistep(const DpmMultistep& method, const MultistepCall& call, const at::Tensor& m0,
                      at::Generator& generator) {
  const auto& [schedule, index, level, latents, history] = call;
  const int order = method.order_at(schedule, index, history);
  const SolverLevel t = level(index + 1), s0 = level(index);
  const DpmWeights w = dpm_weights(method.algorithm, method.heun, t, s0, order);
  at::Tensor next = w.sample * latents.to(at::kFloat) + w.first * m0;
  if (order >= 2) {
    const SolverLevel s1 = level(index - 1);
    const at::Tensor h = t.lambda - s0.lambda, r0 = (s0.lambda - s1.lambda) / h;
    const at::Tensor d1_0 = (1.0 / r0) * (m0 - history[0]);
    if (order == 2) {
      next = next + w.second * d1_0;
    } else {
      const at::Tensor r1 = (s1.lambda - level(index - 2).lambda) / h;
      const at::Tensor d1_1 = (1.0 / r1) * (history[0] - history[1]);
      next = next + w.second * (d1_0 + (r0 / (r0 + r1)) * (d1_0 - d1_1)) +
             w.third * ((1.0 / (r0 + r1)) * (d1_0 - d1_1));
    }
  }
  if (is_stochastic(method.algorithm))
    next = next + w.noise * at::randn(m0.sizes(), generator, at::kFloat).to(m0.device());
  History kept = {m0};
  kept.insert(kept.end(), history.begin(), history.end());
  kept.resize(std::min(kept.size(), static_cast<std::size_t>(method.solver_order - 1)));
  return {next.to(m0.dtype()), std::move(kept)};
}

at::Tensor dpm_converted(const SolverConfig& solver, DpmAlgorithm algorithm, const Schedule& schedule,
                         int index, const at::Tensor& model_output, const at::Tensor& latents) {
  if (is_plus(algorithm)) return solver_clean(solver, schedule, index, model_output, latents);
  const at::Tensor noise = solver_noise(solver, schedule, index, model_output, latents);
  if (!solver.threshold.thresholding) return noise;
  SolverConfig epsilon = solver;
  epsilon.prediction = Prediction::epsilon;
  const SolverLevel level = solver_level(solver, schedule, index);
  return (latents - level.alpha * solver_clean(epsilon, schedule, index, noise, latents)) / level.sigma;
}

}  // namespace diffused::samplers
