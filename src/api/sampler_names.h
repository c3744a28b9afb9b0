// One sampler, many names: Diffusers' class, AUTOMATIC1111's label, k-diffusion's function, the words of
// other programs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "job/job.h"

namespace diffused::api {

struct SamplerName {
  std::string_view class_name;            // as PipelineInfo::schedulers has it
  std::string_view label;                 // as A1111 shows it
  std::vector<std::string_view> aliases;  // in lower case
};

// THE TABLE.
std::span<const SamplerName> sampler_names();

// How the steps of a sampler may be spaced, in A1111's words, who calls that a scheduler. A model knows a
// sampler with such a spacing as "CLASS:word".
struct SpacingName {
  std::string_view word;   // "karras"
  std::string_view label;  // "Karras"
};
std::span<const SpacingName> spacing_names();

// The name under which the model knows the sampler that a client calls `name`, in any case and with '_', '-'
// or nothing for a space; "DPM++ 2M Karras" is a sampler and its spacing. Empty: the model has none of that
// name.
std::string find_sampler(const PipelineInfo& model, std::string_view name);

// The same sampler with the spacing that a client calls `label`, in any case. Empty: the model has it not.
std::string with_spacing(const PipelineInfo& model, std::string_view sampler, std::string_view label);

// The sampler's name for people who know A1111, without its spacing, or the class name where there is none.
std::string sampler_label(std::string_view name);
// The spacing's, "Automatic" for the sampler's own.
std::string spacing_label(std::string_view name);

}  // namespace diffused::api
