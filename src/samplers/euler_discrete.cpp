// Follows diffusers 0.42.1, schedulers/scheduling_euler_discrete.py and
// scheduling_euler_ancestral_discrete.py.
#include "samplers/euler_discrete.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linspace.h>

#include "samplers/noise.h"

namespace diffused::samplers {

Result<EulerDiscreteConfig> EulerDiscreteConfig::parse(const boost::json::object& object) {
  EulerDiscreteConfig config;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/true);
  options.read("interpolation_type", config.log_linear, {{"linear", false}, {"log_linear", true}});
  options.read("final_sigmas_type", config.zero_final_sigma, {{"zero", true}, {"sigma_min", false}});
  bool continuous = false;
  options.read("timestep_type", continuous, {{"discrete", false}, {"continuous", true}});
  if (continuous && config.space.prediction == Prediction::v_prediction)
    options.refuse("timestep_type", "discrete for v_prediction");
  if (config.log_linear && config.space.spacing != SigmaSpacing::linear)
    options.refuse("interpolation_type", "linear for this spacing of sigmas");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<EulerDiscreteConfig> EulerDiscreteConfig::parse_ancestral(const boost::json::object& object) {
  EulerDiscreteConfig config;
  config.ancestral = true;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/false);
  config.space.spacing = SigmaSpacing::linear;  // the class has no such option
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

// The last of them is where the run ends.
Result<Schedule> EulerDiscrete::schedule_of(const std::vector<double>& sigmas) const {
  if (sigmas.size() < 2)
    return fail(ErrorCode::invalid_argument, "sigmas must be one more than the steps: the last ends the run",
                "sigmas");
  Schedule schedule{.sigmas = {sigmas.begin(), sigmas.end()}};
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i)
    schedule.timesteps.push_back(noise().timestep_at(schedule.sigmas[i]));
  return finite(std::move(schedule));
}

Result<Schedule> EulerDiscrete::schedule(const ScheduleRequest& request) const {
  const bool custom = !config_.ancestral;
  TRY_VOID(check_steps(request, {.sigmas = custom, .timesteps = custom && takes_timesteps().timesteps}));
  if (!request.sigmas.empty()) return schedule_of(request.sigmas);
  TRY(const SigmaSteps levels, steps(request));
  Schedule schedule{.sigmas = {levels.sigmas.begin(), levels.sigmas.end()},
                    .timesteps = {levels.timesteps.begin(), levels.timesteps.end()}};
  if (config_.log_linear) {
    // One level more than steps, and the last of them is where the run ends.
    const auto& logs = noise().log_sigmas();
    const auto count = static_cast<std::int64_t>(levels.timesteps.size()) + 1;
    const at::Tensor sigmas = at::linspace(logs.back(), logs.front(), count, at::kFloat).exp();
    schedule.sigmas.assign(sigmas.data_ptr<float>(), sigmas.data_ptr<float>() + sigmas.numel());
  } else {
    schedule.sigmas.push_back(config_.zero_final_sigma ? 0 : noise().sigmas().front());
  }
  return finite(std::move(schedule));
}

Stepped EulerDiscrete::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents, const History&, at::Generator& generator) const {
  const at::Tensor sample = latents.to(at::kFloat);
  const at::Tensor sigma = sigma_at(schedule, index), sigma_next = sigma_at(schedule, index + 1);
  const at::Tensor direction = (sample - clean(schedule, index, model_output, sample)) / sigma;
  at::Tensor next;
  if (config_.ancestral) {
    const AncestralLevels levels = ancestral_levels(sigma, sigma_next);
    const at::Tensor noise = draw_noise(generator, model_output.sizes(), model_output.scalar_type());
    next = sample + direction * (levels.down - sigma) + noise.to(sample.device()) * levels.up;
  } else {
    next = sample + direction * (sigma_next - sigma);
  }
  return {next.to(model_output.dtype()), {}};
}

}  // namespace diffused::samplers
