#include "samplers/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace diffused::samplers {

bool is_falling(const std::vector<double>& levels) {
  for (std::size_t i = 1; i < levels.size(); ++i) {
    // Written so that NaN fails.
    if (!(levels[i] < levels[i - 1])) return false;
  }
  return levels.empty() || (std::isfinite(levels.front()) && levels.back() >= 0);
}

Result<void> check_steps(const ScheduleRequest& request, CustomLevels taken) {
  if (!request.sigmas.empty() && !request.timesteps.empty())
    return fail(ErrorCode::invalid_argument, "sigmas and timesteps cannot both be given", "timesteps");
  if (!request.sigmas.empty() && !taken.sigmas)
    return fail(ErrorCode::unsupported, "this scheduler takes no sigmas of one's own", "sigmas");
  if (!request.timesteps.empty() && !taken.timesteps)
    return fail(ErrorCode::unsupported, "this scheduler takes no timesteps of one's own", "timesteps");
  for (const auto& [name, levels] :
       {std::pair("sigmas", &request.sigmas), std::pair("timesteps", &request.timesteps)}) {
    if (!is_falling(*levels))
      return fail(ErrorCode::invalid_argument,
                  std::string(name) + " must fall from each to the next, and not below 0", name);
  }
  if (request.sigmas.empty() && request.timesteps.empty() && request.steps < 1)
    return fail(ErrorCode::invalid_argument, "num_inference_steps must be 1 or more", "num_inference_steps");
  return {};
}

Result<double> shift_of(const ScheduleRequest& request, double own, bool dynamic) {
  if (!request.shift) return own;
  if (dynamic)
    return fail(ErrorCode::unsupported, "this model's shift follows from the picture's size", "flow_shift");
  return *request.shift;
}

Result<Schedule> finite(Schedule schedule) {
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (std::ranges::all_of(schedule.sigmas, is_finite) && std::ranges::all_of(schedule.timesteps, is_finite))
    return schedule;
  return fail(ErrorCode::invalid_argument, "the model's scheduler has no schedule of this many steps",
              "num_inference_steps");
}

}  // namespace diffused::samplers
