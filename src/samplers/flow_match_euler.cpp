// Follows diffusers 0.42.1, schedulers/scheduling_flow_match_euler_discrete.py.
#include "samplers/flow_match_euler.h"

#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {
namespace {

template <typename T>
void shift_all(const FlowMatchEulerConfig& config, const ScheduleRequest& request, std::vector<T>& sigmas) {
  const double mu = config.dynamic.mu(request);
  for (T& sigma : sigmas)
    sigma =
        config.dynamic.used ? dynamic_shift(sigma, mu, config.time_shift) : static_shift(sigma, config.shift);
  if (config.shift_terminal.value_or(0) != 0) stretch_to_terminal(sigmas, *config.shift_terminal);
}

// The shifted noise levels, in float32 as Diffusers rounds them at the end.
template <typename T>
std::vector<float> finish(const FlowMatchEulerConfig& config, const ScheduleRequest& request,
                          std::vector<T> sigmas) {
  shift_all(config, request, sigmas);
  if (config.spacing == SigmaSpacing::linear) return {sigmas.begin(), sigmas.end()};
  const double first = config.sigma_max.value_or(sigmas.front());
  const double last = config.sigma_min.value_or(sigmas.back());
  const auto levels = spaced(config.spacing, first, last, sigmas.size());
  return {levels.begin(), levels.end()};
}

}  // namespace

Result<Schedule> FlowMatchEuler::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request, {.sigmas = true}));
  FlowMatchEulerConfig config = config_;
  TRY(config.shift, shift_of(request, config_.shift, config_.dynamic.used));
  Schedule schedule;
  if (request.sigmas.empty()) {
    // The ends of the training range, in float32; the first of the two shifts.
    const auto train = static_cast<float>(config_.num_train_timesteps);
    const double shift = config.dynamic.used ? 1.0 : config.shift;
    const double sigma_max = static_shift(train / train, shift), sigma_min = static_shift(1 / train, shift);
    auto sigmas = linspace(sigma_max * config_.num_train_timesteps, sigma_min * config_.num_train_timesteps,
                           static_cast<std::size_t>(request.steps));
    for (double& sigma : sigmas) sigma /= config_.num_train_timesteps;
    schedule.sigmas = finish(config, request, std::move(sigmas));
  } else {
    schedule.sigmas =
        finish(config, request, std::vector<float>(request.sigmas.begin(), request.sigmas.end()));
  }
  for (float& sigma : schedule.sigmas) {
    if (config_.invert_sigmas) sigma = 1 - sigma;
    schedule.timesteps.push_back(sigma * static_cast<float>(config_.num_train_timesteps));
  }
  schedule.sigmas.push_back(config_.invert_sigmas ? 1.0f : 0.0f);
  return finite(std::move(schedule));
}

Stepped FlowMatchEuler::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                             const at::Tensor& latents, const History&, at::Generator& generator) const {
  const auto at_sigma = schedule.sigmas.begin() + index;
  const float sigma = at_sigma[0], sigma_next = at_sigma[1];
  const at::Tensor x = latents.to(at::kFloat);
  at::Tensor next;
  if (config_.stochastic_sampling) {
    const at::Tensor x0 = clean_estimate(schedule, index, model_output, latents);
    const at::Tensor noise = at::randn(x.sizes(), generator, at::kFloat).to(x.device());
    next = (1 - scalar(sigma_next)) * x0 + scalar(sigma_next) * noise;
  } else {
    next = x + scalar(sigma_next - sigma) * model_output;
  }
  return {next.to(model_output.dtype()), {}};
}

}  // namespace diffused::samplers
