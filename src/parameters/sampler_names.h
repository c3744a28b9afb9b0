// One sampler, many names: Diffusers' class, AUTOMATIC1111's label, k-diffusion's function, the words of
// other programs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "job/job.h"

namespace diffused {

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
  std::string_view word;             // "karras"
  std::string_view label;            // "Karras"
  std::string_view short_word = {};  // at the end of k-diffusion's names
};
std::span<const SpacingName> spacing_names();

// What a model has for a client's word for a sampler and its word for the spacing of its steps.
struct SamplerChoice {
  std::string name;  // as the model knows it; empty: it has no such sampler
  std::string
      missing;  // the spacing that the model has not, as the client calls it; the sampler's own is used
};

// Words count in any case and with '_', '-' or nothing for a space. "DPM++ 2M Karras" is a sampler and its
// spacing, which goes before the other word. No word for the sampler means the model's own; none for the
// spacing, or "Automatic", the sampler's own.
SamplerChoice choose_sampler(const PipelineInfo& model, std::string_view name, std::string_view spacing = {});

// The sampler's name for people who know A1111, without its spacing, or the class name where there is none.
std::string sampler_label(std::string_view name);
// The spacing's, "Automatic" for the sampler's own.
std::string spacing_label(std::string_view name);

}  // namespace diffused
