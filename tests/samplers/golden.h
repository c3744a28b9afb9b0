// Reads tests/samplers/data/*.json, which tools/golden/samplers.py makes from real Diffusers; or what it made
// on this machine, in the folder DIFFUSED_SAMPLER_GOLDENS (tests/parity/test_schedules.py). Processors round
// exp and log otherwise in the last bit, Diffusers' as ours: equal bits can be asked of the latter alone.
#pragma once

#include <ATen/ATen.h>

#include <bit>
#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "samplers/noise.h"
#include "samplers/sampler.h"
#include "support/source_folder.h"

namespace diffused::samplers {

inline const char* goldens_made_here() { return std::getenv("DIFFUSED_SAMPLER_GOLDENS"); }

inline boost::json::array golden_cases(const std::string& name) {
  const char* const here = goldens_made_here();
  const std::string folder =
      here != nullptr ? here : (test::source_folder() / "tests/samplers/data").string();
  std::ostringstream text;
  text << std::ifstream(folder + "/" + name + ".json").rdbuf();
  return boost::json::parse(text.str()).at("cases").as_array();
}

inline float float_of_bits(const boost::json::value& bits) {
  return std::bit_cast<float>(boost::json::value_to<std::int32_t>(bits));
}

inline std::vector<float> floats_of_bits(const boost::json::value& bits) {
  std::vector<float> floats;
  for (const auto& value : bits.as_array()) floats.push_back(float_of_bits(value));
  return floats;
}

inline at::ScalarType dtype_of(const boost::json::value& name) {
  return name == "float32" ? at::kFloat : at::kBFloat16;
}

// The bits of a tensor as the golden files list them.
inline std::vector<std::int64_t> bits_of(const at::Tensor& tensor) {
  const at::Tensor bits =
      tensor.contiguous().flatten().view(tensor.element_size() == 4 ? at::kInt : at::kShort);
  const at::Tensor wide = bits.to(at::kLong);
  return {wide.data_ptr<std::int64_t>(), wide.data_ptr<std::int64_t>() + wide.numel()};
}

// The latents after a whole run, in which noise and a little of its input stand for the network's outputs: as
// run() of tools/golden/samplers.py.
inline at::Tensor run_to_end(const Sampler& sampler, const Schedule& schedule, at::ScalarType dtype) {
  at::Generator drawn = seeded_generator(7), own = seeded_generator(11);
  const auto draw = [&] { return draw_noise(drawn, {1, 2, 1, 2}, dtype); };
  at::Tensor latents = draw();
  const at::Tensor noise = draw();
  latents = schedule.begin == 0 ? noise * sampler.first_noise(schedule)
                                : sampler.add_noise(schedule, schedule.begin, latents, noise);
  History history;
  for (int call = schedule.begin; call < schedule.calls(); ++call) {
    const at::Tensor seen = sampler.network_input(schedule, call, latents);
    Stepped stepped = sampler.step(schedule, call, draw() + 0.1 * seen, latents, history, own);
    latents = stepped.latents;
    history = std::move(stepped.history);
  }
  return latents;
}

}  // namespace diffused::samplers
