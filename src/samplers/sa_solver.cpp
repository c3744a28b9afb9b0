// Follows diffusers 0.42.1, schedulers/scheduling_sasolver.py.
#include "samplers/sa_solver.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "samplers/dpm_solver.h"
#include "samplers/flow.h"
#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

constexpr int kOrderMax = 4;
constexpr std::size_t kKeptFirst = 2;  // of the history: before it stand the latents and the noise

// How much of each step is noise: all of it in the middle of the run.
int tau_at(const Schedule& schedule, int index) {
  const float timestep = schedule.timesteps[static_cast<std::size_t>(index)];
  return timestep >= 200 && timestep <= 800 ? 1 : 0;
}

// The integral of x^power e^-x from start to end.
at::Tensor falling(int power, const at::Tensor& start, const at::Tensor& end) {
  const auto polynomial = [power](const at::Tensor& x) {
    if (power == 1) return x + 1;
    if (power == 2) return x.pow(2) + 2 * x + 2;
    return x.pow(3) + 3 * x.pow(2) + 6 * x + 6;
  };
  if (power == 0) return (-end).exp() * ((end - start).exp() - 1);
  return (-end).exp() * (polynomial(start) * (end - start).exp() - polynomial(end));
}

// The integral of x^power e^(x (1 + tau²)) from start to end.
at::Tensor rising(int power, const at::Tensor& start, const at::Tensor& end, int tau) {
  const int rate = 1 + tau * tau;
  const at::Tensor to = rate * end, from = rate * start, drop = (-(to - from)).exp();
  const auto polynomial = [power](const at::Tensor& x) {
    if (power == 1) return x - 1;
    if (power == 2) return x.pow(2) - 2 * x + 2;
    return x.pow(3) - 3 * x.pow(2) + 6 * x - 6;
  };
  if (power == 0) return to.exp() * (1 - drop) / rate;
  double divisor = 1;
  for (int i = 0; i <= power; ++i) divisor *= rate;
  return to.exp() * (polynomial(to) - polynomial(from) * drop) / divisor;
}

// The coefficients of Lagrange's polynomial that is 1 at places[i] and 0 at the others, the highest power
// first.
std::vector<at::Tensor> lagrange(const std::vector<at::Tensor>& places, std::size_t i) {
  std::vector<at::Tensor> others;
  at::Tensor denominator = scalar(1);
  for (std::size_t j = 0; j < places.size(); ++j) {
    if (j == i) continue;
    others.push_back(places[j]);
    denominator = denominator * (places[i] - places[j]);
  }
  std::vector<at::Tensor> powers = {scalar(1)};  // of (x - others[0]) (x - others[1]) …
  for (const at::Tensor& other : others) {
    std::vector<at::Tensor> next(powers.size() + 1, scalar(0));
    for (std::size_t k = 0; k < powers.size(); ++k) {
      next[k] = next[k] + powers[k];
      next[k + 1] = next[k + 1] - powers[k] * other;
    }
    powers = std::move(next);
  }
  for (at::Tensor& power : powers) power = power / denominator;
  return powers;
}

}  // namespace

// One step from the level of call `from` to the next one's.
struct SaSolver::Adams {
  int from = 0, order = 1;
  int latest = 0;  // the call of the first of `outputs`: `from` to predict, from + 1 to correct
  std::vector<at::Tensor> outputs{};  // what the method goes by, the latest first
  at::Tensor latents, noise;          // at `from`
};

Result<SaSolverConfig> SaSolverConfig::parse(const boost::json::object& object) {
  SaSolverConfig config;
  Options options(object);
  read_solver(options, config.solver);
  SolverConfig& solver = config.solver;
  solver.noise.rescale_betas_zero_snr = false;  // the class has no such options
  solver.sigma_min = solver.sigma_max = std::nullopt;
  solver.dynamic.used = false;
  options.read("predictor_order", config.predictor_order);
  options.read("corrector_order", config.corrector_order);
  options.read("algorithm_type", config.predict_x0, {{"data_prediction", true}, {"noise_prediction", false}});
  options.read("lambda_min_clipped", config.lambda_min_clipped);
  if (config.predictor_order > kOrderMax) options.refuse("predictor_order", "1 to 4");
  if (config.corrector_order > kOrderMax) options.refuse("corrector_order", "1 to 4");
  if (options.has("tau_func")) options.refuse("tau_func", "absent");
  refuse_learned_variance(options);
  if (!config.predict_x0 && solver.prediction == Prediction::flow_prediction)
    options.refuse("algorithm_type", "data_prediction for flow_prediction");
  if (!config.predict_x0 && solver.threshold.thresholding)
    options.refuse("thresholding", "false for noise_prediction");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> SaSolver::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  TRY(const double flow_shift, shift_of(request, solver().flow_shift, false));
  return levels_to_the_lowest(
      solver(), noise(),
      {.steps = request.steps, .last_timestep = last_timestep(), .flow_shift = flow_shift});
}

std::vector<at::Tensor> SaSolver::coefficients(const Schedule& schedule, const Adams& step) const {
  const auto lambda = [&](int place) { return solver_level(solver(), schedule, place).lambda; };
  const int tau = tau_at(schedule, step.from), rate = 1 + tau * tau;
  const at::Tensor start = lambda(step.from), end = lambda(step.from + 1);
  std::vector<at::Tensor> places;
  for (int i = 0; i < step.order; ++i) places.push_back(lambda(step.latest - i));
  std::vector<at::Tensor> sums;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::vector<at::Tensor> powers = lagrange(places, i);
    at::Tensor sum = scalar(0);
    for (int j = 0; j < step.order; ++j) {
      const int power = step.order - 1 - j;
      sum = sum + powers[static_cast<std::size_t>(j)] *
                      (config_.predict_x0 ? rising(power, start, end, tau) : falling(power, start, end));
    }
    sums.push_back(sum);
  }
  if (!config_.predict_x0 || step.order != 2) return sums;
  // A term of third order that helps when steps are few, as UniPC's.
  const at::Tensor h = end - start, rest = (h * rate - 1 + (rate * (-h)).exp()) / (rate * rate);
  const bool corrects = step.latest > step.from;
  const at::Tensor term = corrects
                              ? (rate * end).exp() * (h / 2 - rest / h)
                              : (rate * end).exp() * (h.pow(2) / 2 - rest) / (start - lambda(step.from - 1));
  sums[0] = sums[0] + term;
  sums[1] = sums[1] - term;
  return sums;
}

at::Tensor SaSolver::integrate(const Schedule& schedule, const Adams& step) const {
  const SolverLevel t = solver_level(solver(), schedule, step.from + 1),
                    s = solver_level(solver(), schedule, step.from);
  const at::Tensor h = t.lambda - s.lambda;
  const int tau = tau_at(schedule, step.from), square = tau * tau, rate = 1 + square;
  const std::vector<at::Tensor> sums = coefficients(schedule, step);
  at::Tensor gradient = at::zeros_like(step.latents);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const at::Tensor factor = config_.predict_x0 ? rate * t.sigma * (-square * t.lambda).exp() * sums[i]
                                                 : -rate * t.alpha * sums[i];
    gradient = gradient + factor * step.outputs[i];
  }
  const at::Tensor next = config_.predict_x0
                              ? (-square * h).exp() * (t.sigma / s.sigma) * step.latents + gradient +
                                    t.sigma * (1 - (-2 * square * h).exp()).sqrt() * step.noise
                              : (t.alpha / s.alpha) * step.latents + gradient +
                                    tau * t.sigma * ((2 * h).exp() - 1).sqrt() * step.noise;
  return next.to(step.latents.dtype());
}

Stepped SaSolver::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                       const at::Tensor& latents, const History& history, at::Generator& generator) const {
  const int kept = std::max(config_.predictor_order, config_.corrector_order - 1);
  const int made = index - schedule.begin;
  const int left = solver().lower_order_final ? schedule.calls() - index : kOrderMax;
  const at::Tensor output = config_.predict_x0
                                ? solver_clean(solver(), schedule, index, model_output, latents)
                                : solver_noise(solver(), schedule, index, model_output, latents);
  std::vector<at::Tensor> outputs = {output};
  if (!history.empty()) outputs.insert(outputs.end(), history.begin() + kKeptFirst, history.end());
  at::Tensor corrected = latents;
  if (!history.empty()) {
    // What the step before had left, and had behind it.
    const int order = std::min({config_.corrector_order, left + 2, std::min(made - 1, kept) + 2});
    corrected = integrate(schedule, {.from = index - 1,
                                     .order = order,
                                     .latest = index,
                                     .outputs = outputs,
                                     .latents = history[0],
                                     .noise = history[1]});
  }
  const at::Tensor noise =
      draw_noise(generator, model_output.sizes(), model_output.scalar_type()).to(model_output.device());
  const int order = std::min({config_.predictor_order, left, std::min(made, kept) + 1});
  const at::Tensor next = integrate(schedule, {.from = index,
                                               .order = order,
                                               .latest = index,
                                               .outputs = outputs,
                                               .latents = corrected,
                                               .noise = noise});
  outputs.resize(std::min(outputs.size(), static_cast<std::size_t>(kept)));
  History remembered = {corrected, noise};
  remembered.insert(remembered.end(), outputs.begin(), outputs.end());
  return {next, std::move(remembered)};
}

at::Tensor SaSolver::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                               const at::Tensor& noise) const {
  // By the timestep, which the spacings of sigmas round.
  const auto timestep = static_cast<std::size_t>(schedule.timesteps[static_cast<std::size_t>(index)]);
  const at::Tensor alpha = scalar(this->noise().alphas_cumprod()[timestep]).to(x0.options());
  return alpha.pow(0.5) * x0 + (1 - alpha).pow(0.5) * noise;
}

}  // namespace diffused::samplers
