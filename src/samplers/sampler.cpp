#include "samplers/sampler.h"

#include <algorithm>
#include <cmath>

namespace diffused::samplers {

Result<void> check_steps(const ScheduleRequest& request) {
  if (!request.sigmas.empty())
    return fail(ErrorCode::unsupported, "this scheduler takes no sigmas of one's own", "sigmas");
  if (request.steps < 1)
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
