// Follows the constructors of diffusers 0.42.1's schedulers, such as
// schedulers/scheduling_dpmsolver_multistep.py.
#include "samplers/training_noise.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <type_traits>

#include "samplers/sampler.h"

namespace diffused::samplers {
namespace {

// Nichol & Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", equation 17.
at::Tensor cosine_betas(int timesteps) {
  const auto alpha_bar = [](double t) {
    return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2), 2);
  };
  constexpr double kBetaMax = 0.999;
  std::vector<float> betas;
  for (int i = 0; i < timesteps; ++i) {
    const double from = static_cast<double>(i) / timesteps, to = static_cast<double>(i + 1) / timesteps;
    betas.push_back(static_cast<float>(std::min(1 - alpha_bar(to) / alpha_bar(from), kBetaMax)));
  }
  return at::tensor(betas, at::kFloat);
}

at::Tensor betas_of(const TrainingNoiseConfig& config) {
  if (!config.trained_betas.empty())
    return at::tensor(std::vector<float>(config.trained_betas.begin(), config.trained_betas.end()));
  switch (config.beta_schedule) {
    case BetaSchedule::linear:
      return at::linspace(config.beta_start, config.beta_end, config.num_train_timesteps, at::kFloat);
    case BetaSchedule::scaled_linear:
      return at::linspace(std::pow(config.beta_start, 0.5), std::pow(config.beta_end, 0.5),
                          config.num_train_timesteps, at::kFloat)
          .pow(2);
    case BetaSchedule::squaredcos_cap_v2:
      return cosine_betas(config.num_train_timesteps);
  }
  return {};
}

// Betas whose last timestep is noise alone: Lin et al. 2023, "Common Diffusion Noise Schedules and Sample
// Steps are Flawed", algorithm 1.
at::Tensor with_zero_terminal_snr(const at::Tensor& betas) {
  at::Tensor roots = at::cumprod(1.0 - betas, 0).sqrt();
  const at::Tensor first = roots[0].clone(), last = roots[-1].clone();
  roots = (roots - last) * (first / (first - last));
  const at::Tensor bars = roots.pow(2);
  const at::Tensor alphas = at::cat({bars.slice(0, 0, 1), bars.slice(0, 1) / bars.slice(0, 0, -1)});
  return 1 - alphas;
}

std::vector<float> vector_of(const at::Tensor& values) {
  const at::Tensor dense = values.contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

}  // namespace

void read_timestep_spacing(Options& options, TimestepSpacing& spacing, int& steps_offset) {
  options.read("timestep_spacing", spacing,
               {{"linspace", TimestepSpacing::linspace},
                {"leading", TimestepSpacing::leading},
                {"trailing", TimestepSpacing::trailing}});
  options.read_integer("steps_offset", steps_offset);
}

void read_training_noise(Options& options, TrainingNoiseConfig& config) {
  options.read("num_train_timesteps", config.num_train_timesteps);
  options.read("beta_start", config.beta_start);
  options.read("beta_end", config.beta_end);
  options.read("beta_schedule", config.beta_schedule,
               {{"linear", BetaSchedule::linear},
                {"scaled_linear", BetaSchedule::scaled_linear},
                {"squaredcos_cap_v2", BetaSchedule::squaredcos_cap_v2}});
  options.read_list("trained_betas", config.trained_betas);
  options.read("rescale_betas_zero_snr", config.rescale_betas_zero_snr);
  const auto is_beta = [](double beta) { return beta > 0 && beta < 1; };
  if (!is_beta(config.beta_start)) options.refuse("beta_start", "between 0 and 1");
  if (!is_beta(config.beta_end)) options.refuse("beta_end", "between 0 and 1");
  if (!config.trained_betas.empty()) {
    config.num_train_timesteps = static_cast<int>(config.trained_betas.size());
    if (!std::ranges::all_of(config.trained_betas, is_beta))
      options.refuse("trained_betas", "between 0 and 1");
  }
  if (config.num_train_timesteps < 2) options.refuse("num_train_timesteps", "2 or more");
}

TrainingNoise::TrainingNoise(const TrainingNoiseConfig& config) {
  at::Tensor betas = betas_of(config);
  if (config.rescale_betas_zero_snr) betas = with_zero_terminal_snr(betas);
  const at::Tensor alphas_cumprod = at::cumprod(1.0 - betas, 0);
  // Not quite zero, so that sigma stays finite.
  if (config.rescale_betas_zero_snr && config.finite_terminal) alphas_cumprod[-1] = std::ldexp(1.0, -24);
  alphas_cumprod_ = vector_of(alphas_cumprod);
  sigmas_ = vector_of(((1 - alphas_cumprod) / alphas_cumprod).pow(0.5));
  for (const float sigma : sigmas_) log_sigmas_.push_back(numpy_log(sigma));
}

double TrainingNoise::sigma_at(double timestep) const {
  const double at = std::clamp(timestep, 0.0, static_cast<double>(timesteps() - 1));
  const auto low = std::min(static_cast<std::size_t>(at), sigmas_.size() - 2);
  const double first = sigmas_[low], slope = static_cast<double>(sigmas_[low + 1]) - first;
  return slope * (at - static_cast<double>(low)) + first;
}

template <typename T>
T TrainingNoise::timestep_at(T sigma) const {
  const T least = std::max(sigma, static_cast<T>(1e-10));
  T log_sigma;
  if constexpr (std::is_same_v<T, float>) {
    log_sigma = numpy_log(least);
  } else {
    log_sigma = std::log(least);
  }
  const auto above = std::ranges::upper_bound(log_sigmas_, log_sigma);
  const auto low = static_cast<std::size_t>(
      std::clamp<std::ptrdiff_t>(above - log_sigmas_.begin() - 1, 0, timesteps() - 2));
  // numpy subtracts two float32 in float32, whatever T is.
  const float gap = log_sigmas_[low] - log_sigmas_[low + 1];
  const T weight = std::clamp<T>((log_sigmas_[low] - log_sigma) / gap, 0, 1);
  return (1 - weight) * static_cast<T>(low) + weight * static_cast<T>(low + 1);
}
template float TrainingNoise::timestep_at(float) const;
template double TrainingNoise::timestep_at(double) const;

Result<std::vector<double>> TrainingNoise::custom_timesteps(const std::vector<double>& wanted,
                                                            bool whole) const {
  std::vector<double> timesteps = wanted;
  for (double& timestep : timesteps) timestep = whole ? std::trunc(timestep) : timestep;
  if (is_falling(timesteps) && (timesteps.empty() || timesteps.front() <= this->timesteps() - 1))
    return timesteps;
  return fail(
      ErrorCode::invalid_argument,
      "timesteps must fall from " + std::to_string(this->timesteps() - 1) + " or less, and not below 0",
      "timesteps");
}

std::vector<double> trailing_timesteps(int last, int train, int steps) {
  const double ratio = static_cast<double>(train) / steps;
  const double delta = (last - ratio) - last;
  const auto length = static_cast<int>(std::ceil(last / ratio));
  std::vector<double> timesteps;
  for (int i = 0; i < length; ++i) timesteps.push_back(std::nearbyint(last + i * delta) - 1);
  return timesteps;
}

float numpy_log(float x) {
  // x = 2^exponent · mantissa, the mantissa in [1/√2, √2]; then a rational minimax approximation of log(1 +
  // m).
  int exponent = 0;
  float mantissa = std::frexp(x, &exponent) * 2;  // [1, 2)
  --exponent;
  if (mantissa > std::numbers::sqrt2_v<float>) {
    mantissa *= 0.5f;
    ++exponent;
  }
  const float m = mantissa - 1;
  const auto polynomial = [m](const float(&coefficients)[6]) {
    float value = coefficients[0];
    for (int i = 1; i < 6; ++i) value = std::fma(value, m, coefficients[i]);
    return value;
  };
  constexpr float kNumerator[] = {2.589979117907922693523e-02f, 3.808837741388407920751e-01f,
                                  1.480000633576506585156e+00f, 2.112677543073053063722e+00f,
                                  9.999999999999998702752e-01f, 0.0f};
  constexpr float kDenominator[] = {5.875095403124574342950e-03f, 1.546476374983906719538e-01f,
                                    9.864942958519418960339e-01f, 2.453006071784736363091e+00f,
                                    2.612677543073109236779e+00f, 1.0f};
  return std::fma(static_cast<float>(exponent), std::numbers::ln2_v<float>,
                  polynomial(kNumerator) / polynomial(kDenominator));
}

}  // namespace diffused::samplers
