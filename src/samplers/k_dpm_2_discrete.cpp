// Follows diffusers 0.42.1, schedulers/scheduling_k_dpm_2_discrete.py and
// scheduling_k_dpm_2_ancestral_discrete.py.
#include "samplers/k_dpm_2_discrete.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

Result<KDpm2DiscreteConfig> parse_k_dpm_2(const boost::json::object& object, bool ancestral) {
  KDpm2DiscreteConfig config;
  config.ancestral = ancestral;
  config.space.noise.beta_start = 0.00085;
  config.space.noise.beta_end = 0.012;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/false);
  config.space.noise.rescale_betas_zero_snr = false;  // the classes have no such option
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

}  // namespace

Result<KDpm2DiscreteConfig> KDpm2DiscreteConfig::parse(const boost::json::object& object) {
  return parse_k_dpm_2(object, false);
}

Result<KDpm2DiscreteConfig> KDpm2DiscreteConfig::parse_ancestral(const boost::json::object& object) {
  return parse_k_dpm_2(object, true);
}

Result<Schedule> KDpm2Discrete::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  const SigmaSteps levels = steps(request.steps);
  std::vector<float> sigmas(levels.sigmas.begin(), levels.sigmas.end());
  sigmas.push_back(0);
  const at::Tensor from = at::tensor(sigmas, at::kFloat).slice(0, 0, -1),
                   to = at::tensor(sigmas, at::kFloat).slice(0, 1);
  const at::Tensor end = config_.ancestral ? ancestral_levels(from, to).down : to;
  // The middles of the steps. Its weights count from the other end in the two classes.
  const at::Tensor middles =
      (config_.ancestral ? from.log().lerp(end.log(), 0.5) : end.log().lerp(from.log(), 0.5))
          .exp()
          .contiguous();

  Schedule schedule;
  schedule.calls_per_step = 2;
  const bool rounded = config_.space.spacing == SigmaSpacing::karras;
  for (std::size_t i = 0; i < levels.sigmas.size(); ++i) {
    if (i > 0) {
      const float middle = middles.data_ptr<float>()[i - 1];
      schedule.sigmas.push_back(middle);
      schedule.timesteps.push_back(noise().timestep_at(middle));
    }
    const double timestep = levels.timesteps[i];
    schedule.sigmas.push_back(sigmas[i]);
    schedule.timesteps.push_back(static_cast<float>(rounded ? std::nearbyint(timestep) : timestep));
  }
  schedule.sigmas.push_back(0);
  return finite(std::move(schedule));
}

Stepped KDpm2Discrete::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                            const at::Tensor& latents, const History& history,
                            at::Generator& generator) const {
  const at::Tensor sigma = sigma_at(schedule, index), sigma_next = sigma_at(schedule, index + 1);
  const at::Tensor direction = (latents - clean(schedule, index, model_output, latents)) / sigma;
  if (history.empty()) return {latents + direction * (sigma_next - sigma), {latents}};
  const at::Tensor begin = sigma_at(schedule, index - 1);
  if (!config_.ancestral) return {history[0] + direction * (sigma_next - begin), {}};
  const AncestralLevels levels = ancestral_levels(begin, sigma_next);
  const at::Tensor noise = draw_noise(generator, model_output.sizes(), model_output.scalar_type());
  return {history[0] + direction * (levels.down - begin) + noise.to(latents.device()) * levels.up, {}};
}

at::Tensor KDpm2Discrete::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                    const at::Tensor& noise) const {
  return SigmaSpace::add_noise(schedule, index + index % 2, x0, noise);
}

}  // namespace diffused::samplers
