// Follows diffusers 0.42.1, schedulers/scheduling_edm_euler.py and scheduling_edm_dpmsolver_multistep.py.
#include "samplers/edm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/log.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/pow.h>

#include <cmath>

namespace diffused::samplers {
namespace {

void read_edm(Options& options, EdmConfig& config) {
  options.read("sigma_min", config.sigma_min);
  options.read("sigma_max", config.sigma_max);
  options.read("sigma_data", config.sigma_data);
  options.read("rho", config.rho);
  options.read("sigma_schedule", config.exponential, {{"karras", false}, {"exponential", true}});
  options.read("prediction_type", config.v_prediction, {{"epsilon", false}, {"v_prediction", true}});
  options.read("final_sigmas_type", config.zero_final_sigma, {{"zero", true}, {"sigma_min", false}});
  for (const auto& [key, value] :
       {std::pair("sigma_min", config.sigma_min), std::pair("sigma_max", config.sigma_max),
        std::pair("sigma_data", config.sigma_data), std::pair("rho", config.rho)}) {
    if (!(value > 0)) options.refuse(key, "positive");
  }
}

std::vector<float> floats(const at::Tensor& values) {
  const at::Tensor dense = values.contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

}  // namespace

Result<EdmConfig> EdmConfig::parse(const boost::json::object& object) {
  EdmConfig config;
  Options options(object);
  read_edm(options, config);
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<EdmConfig> EdmConfig::parse_dpm(const boost::json::object& object) {
  EdmConfig config;
  Options options(object);
  read_edm(options, config);
  DpmMultistep& solver = config.solver;
  read_dpm_algorithm(options, solver.algorithm, solver.heun);
  if (!is_plus(solver.algorithm)) options.refuse("algorithm_type", "dpmsolver++ or sde-dpmsolver++");
  options.read("solver_order", solver.solver_order);
  options.read("lower_order_final", solver.lower_order_final);
  options.read("euler_at_final", solver.euler_at_final);
  read_threshold(options, config.threshold);
  solver.zero_final_sigma = config.zero_final_sigma;
  const int orders = is_stochastic(solver.algorithm) ? 2 : 3;
  if (solver.solver_order > orders) options.refuse("solver_order", orders == 2 ? "1 or 2" : "1 to 3");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> EdmSpace::schedule_of(int steps, at::ScalarType dtype, bool ends_at_last) const {
  at::Tensor sigmas;
  if (config_.exponential) {
    sigmas = at::linspace(std::log(config_.sigma_min), std::log(config_.sigma_max), steps, at::kFloat)
                 .exp()
                 .flip(0);
  } else {
    const double least = std::pow(config_.sigma_min, 1 / config_.rho),
                 most = std::pow(config_.sigma_max, 1 / config_.rho);
    sigmas = (most + at::linspace(0, 1, steps, dtype) * (least - most)).pow(config_.rho).to(at::kFloat);
  }
  Schedule schedule{.sigmas = floats(sigmas), .timesteps = floats(0.25 * at::log(sigmas))};
  const float last = ends_at_last ? schedule.sigmas.back() : static_cast<float>(config_.sigma_min);
  schedule.sigmas.push_back(config_.zero_final_sigma ? 0 : last);
  return finite(std::move(schedule));
}

float EdmSpace::first_noise(const Schedule&) const {
  return static_cast<float>(std::sqrt(config_.sigma_max * config_.sigma_max + 1));
}

at::Tensor EdmSpace::network_input(const Schedule& schedule, int index, const at::Tensor& latents) const {
  const at::Tensor sigma = sigma_at(schedule, index);
  return latents * (1 / (sigma.pow(2) + config_.sigma_data * config_.sigma_data).pow(0.5));
}

at::Tensor EdmSpace::clean(const Schedule& schedule, int index, const at::Tensor& model_output,
                           const at::Tensor& latents) const {
  const double data = config_.sigma_data;
  const at::Tensor sigma = sigma_at(schedule, index);
  const at::Tensor sum = sigma.pow(2) + data * data;
  const at::Tensor out = (config_.v_prediction ? -sigma : sigma) * data / sum.pow(0.5);
  return (data * data / sum) * latents + out * model_output;
}

Result<Schedule> EdmEuler::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  return schedule_of(request.steps, at::kDouble, /*ends_at_last=*/true);
}

Stepped EdmEuler::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                       const at::Tensor& latents, const History&, at::Generator&) const {
  const at::Tensor sample = latents.to(at::kFloat);
  const at::Tensor sigma = sigma_at(schedule, index);
  const at::Tensor direction = (sample - clean(schedule, index, model_output, sample)) / sigma;
  const at::Tensor next = sample + direction * (sigma_at(schedule, index + 1) - sigma);
  return {next.to(model_output.dtype()), {}};
}

Result<Schedule> EdmDpmSolver::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  return schedule_of(request.steps, at::kFloat, /*ends_at_last=*/false);
}

Stepped EdmDpmSolver::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                           const at::Tensor& latents, const History& history,
                           at::Generator& generator) const {
  const at::Tensor m0 = thresholded(config().threshold, clean(schedule, index, model_output, latents));
  // The network's input is scaled, so that the latents are all of the picture and sigma of the noise.
  const auto level = [&](int place) {
    const at::Tensor sigma = sigma_at(schedule, place);
    return SolverLevel{at::ones_like(sigma), sigma, -sigma.log()};
  };
  return dpm_multistep(config().solver, {schedule, index, level, latents, history}, m0, generator);
}

}  // namespace diffused::samplers
