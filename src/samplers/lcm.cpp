// Follows diffusers 0.42.1, schedulers/scheduling_lcm.py and scheduling_tcd.py.
#include "samplers/lcm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sqrt.h>

#include <cmath>

#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

Result<LcmConfig> parse_lcm(const boost::json::object& object, bool trajectory) {
  LcmConfig config;
  config.trajectory = trajectory;
  config.space.noise.beta_start = 0.00085;
  config.space.noise.beta_end = 0.012;
  config.space.noise.beta_schedule = BetaSchedule::scaled_linear;
  Options options(object);
  read_alpha_space(options, config.space, /*tells_sample=*/true);
  options.read("original_inference_steps", config.original_inference_steps);
  options.read("timestep_scaling", config.timestep_scaling);
  if (config.original_inference_steps > config.space.noise.num_train_timesteps)
    options.refuse("original_inference_steps", "num_train_timesteps or less");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

}  // namespace

Result<LcmConfig> LcmConfig::parse(const boost::json::object& object) { return parse_lcm(object, false); }

Result<LcmConfig> LcmConfig::parse_tcd(const boost::json::object& object) { return parse_lcm(object, true); }

Result<Schedule> Lcm::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request, {.timesteps = true}));
  if (!request.timesteps.empty()) return schedule_at(request.timesteps);
  const int original = static_cast<int>(config_.original_inference_steps * request.strength);
  if (request.steps > original)
    return fail(ErrorCode::invalid_argument,
                "this scheduler takes fewer steps than its model was distilled with, of which strength "
                "leaves a share",
                "num_inference_steps");
  std::vector<double> timesteps;
  for (int i = 0; i < request.steps; ++i) {
    // numpy.linspace without its end, cut to whole places
    const auto place = static_cast<int>(std::floor(i * (static_cast<double>(original) / request.steps)));
    timesteps.push_back((original - place) * (train_timesteps() / config_.original_inference_steps) - 1);
  }
  return schedule_of(timesteps);
}

Stepped Lcm::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                  const at::Tensor& latents, const History&, at::Generator& generator) const {
  const int timestep = timestep_of(schedule, index);
  const bool last = index + 1 == schedule.calls();
  const at::Tensor picture = clean(timestep, model_output, latents);
  if (config_.trajectory) {
    const int next = last ? 0 : timestep_of(schedule, index + 1);
    // Without noise straight to the next level, else below it and back up.
    const at::Tensor alpha = alpha_at(static_cast<int>(std::floor((1 - schedule.eta) * next)));
    const at::Tensor below =
        alpha.sqrt() * picture + (1 - alpha).sqrt() * noise(timestep, model_output, latents);
    if (schedule.eta == 0 || last) return {below, {}};
    const at::Tensor kept = alpha_at(next) / alpha;
    const at::Tensor drawn =
        draw_noise(generator, model_output.sizes(), below.scalar_type()).to(latents.device());
    return {kept.sqrt() * below + (1 - kept).sqrt() * drawn, {}};
  }
  // How much of the latents themselves is kept, so that the network is the identity at timestep 0.
  constexpr double kSigmaData = 0.5;
  const double scaled = timestep * config_.timestep_scaling,
               square = scaled * scaled + kSigmaData * kSigmaData;
  const at::Tensor denoised =
      scaled / std::sqrt(square) * bounded(picture) + kSigmaData * kSigmaData / square * latents;
  if (last) return {denoised, {}};
  const at::Tensor alpha = alpha_at(timestep_of(schedule, index + 1));
  const at::Tensor drawn =
      draw_noise(generator, model_output.sizes(), denoised.scalar_type()).to(latents.device());
  return {alpha.sqrt() * denoised + (1 - alpha).sqrt() * drawn, {}};
}

}  // namespace diffused::samplers
