// Follows diffusers 0.42.1, schedulers/scheduling_pndm.py.
#include "samplers/pndm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/pow.h>

#include <algorithm>

namespace diffused::samplers {
namespace {

constexpr int kPndmOrder = 4;
constexpr int kRungeKuttaCalls = 12;  // three steps of four calls
constexpr int kRungeKuttaSteps = 3;

}  // namespace

Result<PndmConfig> PndmConfig::parse(const boost::json::object& object) {
  PndmConfig config;
  config.space.set_alpha_to_one = false;
  Options options(object);
  read_alpha_space(options, config.space, /*tells_sample=*/false);
  config.space.noise.rescale_betas_zero_snr = false;  // the class has no such options
  config.space.clip_sample = config.space.threshold.thresholding = false;
  options.read("skip_prk_steps", config.skip_prk_steps);
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

Result<Schedule> Pndm::schedule(const ScheduleRequest& request) const {
  TRY_VOID(check_steps(request));
  if (!config_.skip_prk_steps && request.steps < kPndmOrder)
    return fail(ErrorCode::invalid_argument, "this scheduler takes more steps than that",
                "num_inference_steps");
  std::vector<double> steps = timesteps(request.steps);
  if (config_.skip_prk_steps) {
    // The second call is made twice: it ends the first step, and begins the next one.
    const double second = steps.size() > 1 ? steps[1] : 0;
    if (steps.size() > 1) steps.insert(steps.begin() + 1, second);
    return schedule_of(steps);
  }
  // Each Runge-Kutta step calls at its beginning, twice in its middle, and at its end.
  const int half = train_timesteps() / request.steps / 2;
  std::vector<double> calls;
  for (int step = 0; step < kRungeKuttaSteps; ++step) {
    const double begin = steps[static_cast<std::size_t>(step)],
                 end = steps[static_cast<std::size_t>(step) + 1];
    calls.insert(calls.end(), {begin, end + half, end + half, end});
  }
  calls.insert(calls.end(), steps.begin() + kRungeKuttaSteps, steps.end());
  return schedule_of(calls);
}

int Pndm::stride(const Schedule& schedule) const {
  const int added = config_.skip_prk_steps ? 1 : kRungeKuttaCalls - kRungeKuttaSteps;
  return train_timesteps() / std::max(schedule.calls() - added, 1);
}

Stepped Pndm::step(const Schedule& schedule, int index, const at::Tensor& model_output,
                   const at::Tensor& latents, const History& history, at::Generator&) const {
  // Image-to-image begins with the same calls, wherever in the schedule that is.
  const bool begins = !config_.skip_prk_steps && index - schedule.begin < kRungeKuttaCalls;
  return begins ? runge_kutta(schedule, index, model_output, latents, history)
                : multistep(schedule, index, model_output, latents, history);
}

Stepped Pndm::runge_kutta(const Schedule& schedule, int index, const at::Tensor& model_output,
                          const at::Tensor& latents, const History& history) const {
  const int counter = index - schedule.begin, phase = counter % 4;
  const int begin = timestep_of(schedule, counter - phase);
  const int next = timestep_of(schedule, index) - (phase % 2 ? 0 : stride(schedule) / 2);
  if (phase == 0) {
    History kept = {latents, 1.0 / 6 * model_output, model_output};
    kept.insert(kept.end(), history.begin(), history.end());
    return {transfer(latents, begin, next, model_output), std::move(kept)};
  }
  const at::Tensor& start = history[0];
  if (phase == 3) {
    return {transfer(start, begin, next, history[1] + 1.0 / 6 * model_output),
            {history.begin() + 2, history.end()}};
  }
  History kept = history;
  kept[1] = history[1] + 1.0 / 3 * model_output;
  return {transfer(start, begin, next, model_output), std::move(kept)};
}

Stepped Pndm::multistep(const Schedule& schedule, int index, const at::Tensor& model_output,
                        const at::Tensor& latents, const History& history) const {
  const int counter = index - schedule.begin, timestep = timestep_of(schedule, index),
            step = stride(schedule);
  if (config_.skip_prk_steps && counter == 0)
    return {transfer(latents, timestep, timestep - step, model_output), {latents, model_output}};
  if (config_.skip_prk_steps && counter == 1) {
    const at::Tensor mean = (model_output + history[1]) / 2;
    return {transfer(history[0], timestep + step, timestep, mean), {history[1]}};
  }
  History e = {model_output};
  e.insert(e.end(), history.begin(), history.end());
  e.resize(std::min<std::size_t>(e.size(), kPndmOrder));
  const at::Tensor output = e.size() == 1   ? e[0]
                            : e.size() == 2 ? (3 * e[0] - e[1]) / 2
                            : e.size() == 3 ? (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12
                                            : 1.0 / 24 * (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]);
  at::Tensor next = transfer(latents, timestep, timestep - step, output);
  return {std::move(next), std::move(e)};
}

// Equation 9 of the paper.
at::Tensor Pndm::transfer(const at::Tensor& latents, int timestep, int timestep_next,
                          const at::Tensor& output) const {
  const at::Tensor alpha = alpha_at(timestep), alpha_next = alpha_at(timestep_next);
  const at::Tensor beta = 1 - alpha, beta_next = 1 - alpha_next;
  const at::Tensor noise = space().prediction == Prediction::v_prediction
                               ? alpha.pow(0.5) * output + beta.pow(0.5) * latents
                               : output;
  const at::Tensor divisor = alpha * beta_next.pow(0.5) + (alpha * beta * alpha_next).pow(0.5);
  return (alpha_next / alpha).pow(0.5) * latents - (alpha_next - alpha) * noise / divisor;
}

}  // namespace diffused::samplers
