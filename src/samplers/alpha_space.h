// What the samplers share that go by timesteps: latents are sqrt(a) of the picture and sqrt(1 - a) of the
// noise, where a is the timestep's entry in the table of the training noise (DDPM's notation).
#pragma once

#include "samplers/options.h"
#include "samplers/sampler.h"
#include "samplers/threshold.h"
#include "samplers/training_noise.h"

namespace diffused::samplers {

// The options that they know between them, by Diffusers' names.
struct AlphaSpaceConfig {
  TrainingNoiseConfig noise;
  Prediction prediction = Prediction::epsilon;
  bool set_alpha_to_one = true;  // what a is before the first timestep: 1, or that of the first
  TimestepSpacing timestep_spacing = TimestepSpacing::leading;
  int steps_offset = 0;
  bool clip_sample = false;
  double clip_sample_range = 1.0;
  ThresholdConfig threshold;
};
// `tells_sample`: whether prediction_type may be sample.
void read_alpha_space(Options& options, AlphaSpaceConfig& config, bool tells_sample);

class AlphaSpace : public Sampler {
 public:
  at::Tensor clean_estimate(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents) const override;
  at::Tensor add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                       const at::Tensor& noise) const override;

 protected:
  explicit AlphaSpace(const AlphaSpaceConfig& config);

  const AlphaSpaceConfig& space() const { return space_; }
  int train_timesteps() const { return noise_.timesteps(); }
  // `count` whole timesteps, noisiest first.
  std::vector<double> timesteps(int count) const;
  // A schedule of these timesteps. Error: invalid_argument, when one is not in the table.
  Result<Schedule> schedule_of(const std::vector<double>& timesteps) const;
  // The same of a request's own. Error: as TrainingNoise::custom_timesteps.
  Result<Schedule> schedule_at(const std::vector<double>& custom) const;
  // a at a timestep, of no dimension; that of the picture itself below 0.
  at::Tensor alpha_at(int timestep) const;
  // What the network's output says at a timestep, in the dtype that its arithmetic gives.
  at::Tensor clean(int timestep, const at::Tensor& model_output, const at::Tensor& latents) const;
  at::Tensor noise(int timestep, const at::Tensor& model_output, const at::Tensor& latents) const;
  // `clean` as thresholding or clip_sample bound it.
  at::Tensor bounded(const at::Tensor& clean) const;

 private:
  AlphaSpaceConfig space_;
  TrainingNoise noise_;
};

// What call `index` tells the network.
int timestep_of(const Schedule& schedule, int index);

}  // namespace diffused::samplers
