// Follows diffusers 0.42.1, schedulers/scheduling_dpmsolver_sde.py.
#include "samplers/dpm_solver_sde.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/log.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sqrt.h>

#include <cmath>

#include "samplers/flow.h"
#include "samplers/noise.h"

namespace diffused::samplers {
namespace {

at::Tensor time_of(const at::Tensor& sigma) { return -sigma.log(); }
at::Tensor sigma_of(const at::Tensor& time) { return (-time).exp(); }
at::Tensor middle_time(const at::Tensor& from, const at::Tensor& to) { return from + (to - from) * 0.5; }

}  // namespace

Result<DpmSolverSdeConfig> DpmSolverSdeConfig::parse(const boost::json::object& object) {
  DpmSolverSdeConfig config;
  config.space.noise.beta_start = 0.00085;  // the class's own
  config.space.noise.beta_end = 0.012;
  Options options(object);
  read_sigma_space(options, config.space, /*tells_sample=*/false);
  config.space.noise.rescale_betas_zero_snr = false;  // the class has no such options
  config.space.sigma_min = config.space.sigma_max = std::nullopt;
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> DpmSolverSde::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  const SigmaSteps levels = steps(request.steps);
  Schedule schedule;
  schedule.calls_per_step = 2;
  for (std::size_t i = 0; i < levels.sigmas.size(); ++i) {
    schedule.sigmas.push_back(static_cast<float>(levels.sigmas[i]));
    schedule.timesteps.push_back(static_cast<float>(levels.timesteps[i]));
    if (i + 1 == levels.sigmas.size()) break;
    const double from = -std::log(levels.sigmas[i]), to = -std::log(levels.sigmas[i + 1]);
    schedule.timesteps.push_back(
        static_cast<float>(noise().timestep_at(std::exp(-(from + (to - from) * 0.5)))));
    const at::Tensor middle =
        sigma_of(middle_time(time_of(scalar(static_cast<float>(levels.sigmas[i]))),
                             time_of(scalar(static_cast<float>(levels.sigmas[i + 1])))));
    schedule.sigmas.push_back(middle.item<float>());
  }
  schedule.sigmas.push_back(0);
  return finite(std::move(schedule));
}

Stepped DpmSolverSde::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                           const at::Tensor& latents, const History& history,
                           at::Generator& generator) const {
  const at::Tensor clean_now = clean(schedule, index, model_output, latents);
  const bool first = history.empty();
  if (first && index + 1 == schedule.calls()) {
    const at::Tensor sigma = sigma_at(schedule, index);
    return {latents + (latents - clean_now) / sigma * (0 - sigma), {}};
  }
  const int begin = first ? index : index - 1;
  const at::Tensor from = time_of(sigma_at(schedule, begin)), end = time_of(sigma_at(schedule, begin + 2));
  const at::Tensor middle = middle_time(from, end), to = first ? middle : end;
  const at::Tensor sigma_from = sigma_of(from), sigma_to = sigma_of(to);
  const at::Tensor up = at::minimum(
      sigma_to, (sigma_to.pow(2) * (sigma_from.pow(2) - sigma_to.pow(2)) / sigma_from.pow(2)).pow(0.5));
  const at::Tensor down = time_of((sigma_to.pow(2) - up.pow(2)).pow(0.5));
  const at::Tensor drawn =
      draw_noise(generator, model_output.sizes(), model_output.scalar_type()).to(model_output.device());
  at::Tensor noise = drawn;
  if (!first) {
    // The motion over the whole step is that over its first half, which is known, and over the second.
    const at::Tensor half = sigma_of(middle);
    noise = (history[1] * (sigma_from - half).sqrt() + drawn * (half - sigma_to).sqrt()) /
            (sigma_from - sigma_to).sqrt();
  }
  const at::Tensor next = (sigma_of(down) / sigma_from) * (first ? latents : history[0]) -
                          (from - down).expm1() * clean_now + noise * up;
  return {next, first ? History{latents, drawn} : History{}};
}

at::Tensor DpmSolverSde::add_noise(const Schedule& schedule, int index, const at::Tensor& x0,
                                   const at::Tensor& noise) const {
  return SigmaSpace::add_noise(schedule, index + index % 2, x0, noise);
}

}  // namespace diffused::samplers
