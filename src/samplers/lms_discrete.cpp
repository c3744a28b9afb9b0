// Follows diffusers 0.42.1, schedulers/scheduling_lms_discrete.py.
#include "samplers/lms_discrete.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

namespace diffused::samplers {
namespace {

constexpr int kLmsOrder = 4;

// The weight of the direction `which` calls ago: its Lagrange polynomial through `order` levels, integrated
// from this level to the next. Gauss's two points are exact up to its third degree.
double weight(const Schedule& schedule, int index, int order, int which) {
  const auto sigma = [&](int place) {
    return static_cast<double>(schedule.sigmas[static_cast<std::size_t>(place)]);
  };
  const auto polynomial = [&](double at) {
    double product = 1;
    for (int k = 0; k < order; ++k) {
      if (k != which) product *= (at - sigma(index - k)) / (sigma(index - which) - sigma(index - k));
    }
    return product;
  };
  const double half = (sigma(index + 1) - sigma(index)) / 2, middle = sigma(index) + half;
  const double point = half / std::sqrt(3.0);
  return half * (polynomial(middle - point) + polynomial(middle + point));
}

}  // namespace

Result<LmsDiscreteConfig> LmsDiscreteConfig::parse(const boost::json::object& object) {
  LmsDiscreteConfig config;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/true);
  config.space.noise.rescale_betas_zero_snr = false;  // the class has no such option
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> LmsDiscrete::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  const SigmaSteps levels = steps(request.steps);
  Schedule schedule{.sigmas = {levels.sigmas.begin(), levels.sigmas.end()},
                    .timesteps = {levels.timesteps.begin(), levels.timesteps.end()}};
  schedule.sigmas.push_back(0);
  return finite(std::move(schedule));
}

Stepped LmsDiscrete::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                          const at::Tensor& latents, const History& history, at::Generator&) const {
  const at::Tensor denoised = clean(schedule, index, model_output, latents);
  History directions = {(latents - denoised) / sigma_at(schedule, index)};
  directions.insert(directions.end(), history.begin(), history.end());
  directions.resize(std::min<std::size_t>(directions.size(), kLmsOrder));
  // Of the levels, not of the directions: image-to-image begins with fewer of these.
  const int order = std::min(index + 1, kLmsOrder);
  at::Tensor change;
  for (int which = 0; which < std::min(order, static_cast<int>(directions.size())); ++which) {
    const at::Tensor part =
        weight(schedule, index, order, which) * directions[static_cast<std::size_t>(which)];
    change = change.defined() ? change + part : part;
  }
  return {latents + change, std::move(directions)};
}

}  // namespace diffused::samplers
