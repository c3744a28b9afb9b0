#include "samplers/flow_match_euler.h"
#include "samplers/options.h"

namespace diffused::samplers {

Result<FlowMatchEulerConfig> FlowMatchEulerConfig::parse(const boost::json::object& object) {
  FlowMatchEulerConfig config;
  Options options(object);
  options.read("num_train_timesteps", config.num_train_timesteps);
  options.read("shift", config.shift);
  read_dynamic_shift(options, config.dynamic);
  options.read("invert_sigmas", config.invert_sigmas);
  options.read("shift_terminal", config.shift_terminal);
  options.read("stochastic_sampling", config.stochastic_sampling);
  options.read("sigma_min", config.sigma_min);
  options.read("sigma_max", config.sigma_max);

  config.spacing = read_spacing(options);
  options.read("time_shift_type", config.time_shift,
               {{"exponential", TimeShift::exponential}, {"linear", TimeShift::linear}});
  if (config.shift <= 0) options.refuse("shift", "positive");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  return config;
}

}  // namespace diffused::samplers
