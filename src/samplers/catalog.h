// The list of samplers, by the class names that Diffusers writes into scheduler_config.json.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <vector>

#include "samplers/sampler.h"

namespace diffused::samplers {

// What leads from noise to picture: a diffusion with the betas of its training, one by continuous noise
// levels, or a rectified flow.
enum class Process { diffusion, edm, flow };

// Every name that make_sampler knows whose sampler can follow this process.
std::vector<std::string> sampler_names(Process process);

// The sampler of this name with the options of a scheduler_config.json: a class name, or
// "CLASS:karras", ":exponential" or ":beta" for that spacing of its noise levels, whatever the options say of
// it. Options that belong to other samplers are ignored, so a model's own config serves any of them. Errors:
// unsupported (unknown name), data_loss (an option that does not fit; the field is its key). Any thread.
Result<std::shared_ptr<const Sampler>> make_sampler(const std::string& name,
                                                    const boost::json::object& config);

// A sampler with options of its own, by the name that A1111's users know it by.
struct Preset {
  std::string name, class_name;
  boost::json::object options;  // besides those of the model's scheduler
};
std::vector<Preset> presets(Process process);

// The options of a flow model's scheduler with what the samplers that are not for flows alone need to follow
// one: use_flow_sigmas, prediction_type and flow_shift, unless the options say otherwise.
boost::json::object with_flow_options(boost::json::object config);

}  // namespace diffused::samplers
