// The noise levels that a network was trained on (DDPM's betas), by timestep: what the samplers of epsilon
// and v-prediction models choose theirs from.
#pragma once

#include <vector>

#include "base/result.h"
#include "samplers/options.h"

namespace diffused::samplers {

// What a network was trained to tell: the noise, the picture, Salimans & Ho's v, or noise - picture.
enum class Prediction { epsilon, sample, v_prediction, flow_prediction };
enum class TimestepSpacing { linspace, leading, trailing };
void read_timestep_spacing(Options& options, TimestepSpacing& spacing, int& steps_offset);

enum class BetaSchedule { linear, scaled_linear, squaredcos_cap_v2 };

struct TrainingNoiseConfig {
  int num_train_timesteps = 1000;
  double beta_start = 0.0001, beta_end = 0.02;
  BetaSchedule beta_schedule = BetaSchedule::linear;
  std::vector<double> trained_betas;  // instead of the three above, unless empty
  bool rescale_betas_zero_snr = false;
  bool finite_terminal =
      true;  // with rescale_betas_zero_snr: whether the last level stays just short of noise alone
};
void read_training_noise(Options& options, TrainingNoiseConfig& config);

// Immutable; any thread. sigma is sqrt((1 - a) / a), where a is the share of the picture's variance.
class TrainingNoise {
 public:
  explicit TrainingNoise(const TrainingNoiseConfig& config);

  // By timestep, ascending noise; float32, equal to Diffusers' in every bit.
  const std::vector<float>& alphas_cumprod() const { return alphas_cumprod_; }
  const std::vector<float>& sigmas() const { return sigmas_; }
  // The logarithms of sigmas(), rounded as numpy rounds them.
  const std::vector<float>& log_sigmas() const { return log_sigmas_; }
  int timesteps() const { return static_cast<int>(sigmas_.size()); }

  // A request's own timesteps, cut to whole ones if asked. Error: invalid_argument (field "timesteps"), when
  // one is not among those of the training, or, cut, no less than the one before.
  Result<std::vector<double>> custom_timesteps(const std::vector<double>& wanted, bool whole) const;

  // sigmas() at a timestep between two whole ones. numpy.interp.
  double sigma_at(double timestep) const;
  // The other way round, linear in log sigma; 0 to timesteps() - 1. In the precision of T, as numpy does it:
  // float or double.
  template <typename T>
  T timestep_at(T sigma) const;

 private:
  std::vector<float> alphas_cumprod_, sigmas_, log_sigmas_;
};

// numpy.arange(last, 0, -train / steps), rounded, less one.
std::vector<double> trailing_timesteps(int last, int train, int steps);

// numpy's logarithm of a float32, bit for bit on processors with AVX2: it is no correctly rounded one. x > 0.
float numpy_log(float x);

}  // namespace diffused::samplers
