// What the samplers share whose latents are picture + sigma · noise, unscaled, as in Karras et al. 2022,
// "Elucidating the Design Space of Diffusion-Based Generative Models", and k-diffusion.
#pragma once

#include "samplers/options.h"
#include "samplers/sampler.h"
#include "samplers/sigma_spacing.h"
#include "samplers/training_noise.h"

namespace diffused::samplers {

// The options that all of them know, by Diffusers' names.
struct SigmaSpaceConfig {
  TrainingNoiseConfig noise;
  Prediction prediction = Prediction::epsilon;
  SigmaSpacing spacing = SigmaSpacing::linear;
  std::optional<double> sigma_min, sigma_max;  // the ends of the karras, exponential and beta spacings
  TimestepSpacing timestep_spacing = TimestepSpacing::linspace;
  int steps_offset = 0;
};
// `tells_sample`: whether prediction_type may be sample.
void read_sigma_space(Options& options, SigmaSpaceConfig& config, bool tells_sample);

// The noise levels of a run's steps and the timesteps that belong to them, noisiest first, in double.
struct SigmaSteps {
  std::vector<double> sigmas, timesteps;
};

// Latents are the picture plus sigma of the noise (Song et al. 2021's name for it), however a network is
// told.
class VarianceExploding : public Sampler {
 public:
  at::Tensor clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 protected:
  // The picture that the network's output points to, in the dtype that its arithmetic gives.
  virtual at::Tensor clean(const Schedule& schedule, int index, const at::Tensor& model_output,
                           const at::Tensor& latents) const = 0;
};

class SigmaSpace : public VarianceExploding {
 public:
  float first_noise(const Schedule& schedule) const override;
  at::Tensor network_input(const Schedule& schedule, int index, const at::Tensor& latents) const override;

 protected:
  explicit SigmaSpace(const SigmaSpaceConfig& config) : space_(config), noise_(config.noise) {}

  const TrainingNoise& noise() const { return noise_; }
  SigmaSteps steps(int count) const;
  // Those of the request's own timesteps, if it has some. Error: as TrainingNoise::custom_timesteps.
  Result<SigmaSteps> steps(const ScheduleRequest& request) const;
  // Timesteps of one's own have their levels from the table.
  CustomLevels takes_timesteps() const { return {.timesteps = space_.spacing == SigmaSpacing::linear}; }
  at::Tensor clean(const Schedule& schedule, int index, const at::Tensor& model_output,
                   const at::Tensor& latents) const override;

 private:
  SigmaSpaceConfig space_;
  TrainingNoise noise_;
};

// The noise level of call `index`, of no dimension.
at::Tensor sigma_at(const Schedule& schedule, int index);

// An ancestral step's parts: down to `down` without noise, then noise of `up` added, to stand at `to`.
struct AncestralLevels {
  at::Tensor down, up;
};
AncestralLevels ancestral_levels(const at::Tensor& from, const at::Tensor& to);

}  // namespace diffused::samplers
