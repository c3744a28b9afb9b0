#include "parameters/sampler_names.h"

#include <algorithm>
#include <cctype>

namespace diffused {
namespace {

// What stays of a name when case, spaces and hyphens do not count: "DPM++ 2M" and "dpm++_2m" are one.
std::string bare(std::string_view name) {
  std::string result;
  for (const unsigned char c : name)
    if (c != ' ' && c != '_' && c != '-') result += static_cast<char>(std::tolower(c));
  return result;
}

// "CLASS:karras" → "CLASS"
std::string_view class_of(std::string_view name) { return name.substr(0, name.find(':')); }

bool is_called(const SamplerName& sampler, const std::string& bare_name) {
  return bare(sampler.class_name) == bare_name || bare(sampler.label) == bare_name ||
         std::ranges::any_of(sampler.aliases,
                             [&](std::string_view alias) { return bare(alias) == bare_name; });
}

// The model's sampler that is called so, without a word for its spacing; empty: none. `wanted` is bare.
std::string known_sampler(const PipelineInfo& model, const std::string& wanted) {
  if (wanted.empty()) return {};
  for (const std::string& own : model.schedulers)
    if (bare(own) == wanted) return own;
  for (const SamplerName& sampler : sampler_names()) {
    const auto own = std::ranges::find(model.schedulers, sampler.class_name);
    if (own != model.schedulers.end() && is_called(sampler, wanted)) return *own;
  }
  return {};
}

constexpr std::string_view kAutomatic = "automatic";

// What a sampler's name may end in.
std::vector<std::string_view> spacing_words() {
  std::vector<std::string_view> words{kAutomatic};
  for (const SpacingName& spacing : spacing_names()) {
    words.push_back(spacing.label);
    if (!spacing.short_word.empty()) words.push_back(spacing.short_word);
  }
  return words;
}

// The word of the spacing that is called so; where there is none, what it is called.
std::string_view spacing_word(std::string_view called) {
  for (const SpacingName& spacing : spacing_names())
    if (bare(spacing.word) == bare(called) || bare(spacing.label) == bare(called) ||
        spacing.short_word == called)
      return spacing.word;
  return called;
}

}  // namespace

std::span<const SamplerName> sampler_names() {
  static const std::vector<SamplerName> kNames{
      {"FlowMatchEulerDiscreteScheduler", "Euler", {"k_euler", "FlowMatchEuler", "euler_flow"}},
      {"FlowMatchHeunDiscreteScheduler", "Heun", {"k_heun", "FlowMatchHeun"}},
      {"DPMSolverMultistepScheduler", "DPM++ 2M", {"k_dpmpp_2m", "dpmpp_2m", "dpm++2m"}},
      {"DPMSolverSinglestepScheduler", "DPM++ 2S", {"k_dpmpp_2s", "dpmpp_2s"}},
      {"UniPCMultistepScheduler", "UniPC", {"uni_pc"}},
      {"FlowMatchLCMScheduler", "LCM", {"k_lcm", "FlowMatchLCM"}},
      {"EulerDiscreteScheduler", "Euler", {"k_euler"}},
      {"EulerAncestralDiscreteScheduler", "Euler a", {"k_euler_a", "k_euler_ancestral", "euler_ancestral"}},
      {"HeunDiscreteScheduler", "Heun", {"k_heun"}},
      {"LMSDiscreteScheduler", "LMS", {"k_lms"}},
      {"KDPM2DiscreteScheduler", "DPM2", {"k_dpm_2"}},
      {"KDPM2AncestralDiscreteScheduler", "DPM2 a", {"k_dpm_2_a", "k_dpm_2_ancestral", "dpm_2_ancestral"}},
      {"DDIMScheduler", "DDIM", {}},
      {"PNDMScheduler", "PLMS", {"pndm"}},
      {"LCMScheduler", "LCM", {"k_lcm"}},
      {"TCDScheduler", "TCD", {}},
      {"DPM++ 2M SDE", "DPM++ 2M SDE", {"k_dpmpp_2m_sde"}},
      {"DPM++ 2M SDE Karras", "DPM++ 2M SDE Karras", {"k_dpmpp_2m_sde_ka"}},
      {"DPM++ SDE", "DPM++ SDE", {"k_dpmpp_sde", "dpmpp_sde"}},
      {"DPM++ SDE Karras", "DPM++ SDE Karras", {"k_dpmpp_sde_ka"}},
  };
  return kNames;
}

std::span<const SpacingName> spacing_names() {
  static constexpr SpacingName kNames[] = {{"karras", "Karras", "ka"},
                                           {"polyexponential", "Polyexponential"},
                                           {"exponential", "Exponential"},
                                           {"beta", "Beta"},
                                           {"sgm_uniform", "SGM Uniform"},
                                           {"ddim_uniform", "DDIM Uniform"},
                                           {"uniform", "Uniform"},
                                           {"ddim", "DDIM"},
                                           {"kl_optimal", "KL Optimal"},
                                           {"align_your_steps", "Align Your Steps"},
                                           {"normal", "Normal"},
                                           {"simple", "Simple"},
                                           {"turbo", "Turbo"}};
  return kNames;
}

SamplerChoice choose_sampler(const PipelineInfo& model, std::string_view name, std::string_view spacing) {
  if (model.schedulers.empty()) return {};
  const std::string wanted = bare(name);
  std::string own = wanted.empty() ? model.schedulers.front() : known_sampler(model, wanted);
  if (own.find(':') != std::string::npos && !wanted.empty()) return {own, {}};
  std::string_view word = spacing;
  for (const std::string_view ending : spacing_words()) {
    const std::string bare_ending = bare(ending);
    if (!own.empty() || !wanted.ends_with(bare_ending)) continue;
    own = known_sampler(model, wanted.substr(0, wanted.size() - bare_ending.size()));
    word = ending;
  }
  if (own.empty() || bare(word).empty() || bare(word) == kAutomatic) return {own, {}};
  const std::string spaced = std::string(class_of(own)) + ":" + bare(spacing_word(word));
  if (std::ranges::count(model.schedulers, spaced) > 0) return {spaced, {}};
  // Some have a name of their own with it.
  if (std::string joined = known_sampler(model, bare(own) + bare(spacing_word(word))); !joined.empty())
    return {std::move(joined), {}};
  return {own, std::string(word)};
}

std::string sampler_label(std::string_view name) {
  const auto found = std::ranges::find(sampler_names(), class_of(name), &SamplerName::class_name);
  return std::string(found == sampler_names().end() ? class_of(name) : found->label);
}

std::string spacing_label(std::string_view name) {
  const std::size_t colon = std::min(name.find(':'), name.size());
  const std::string_view word = name.substr(std::min(colon + 1, name.size()));
  const auto found = std::ranges::find(spacing_names(), word, &SpacingName::word);
  return std::string(found == spacing_names().end() ? "Automatic" : found->label);
}

}  // namespace diffused
