#include "api/sampler_names.h"

#include <algorithm>
#include <cctype>

namespace diffused::api {
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
  static constexpr SpacingName kNames[] = {
      {"karras", "Karras"}, {"exponential", "Exponential"}, {"beta", "Beta"}};
  return kNames;
}

std::string find_sampler(const PipelineInfo& model, std::string_view name) {
  const std::string wanted = bare(name);
  for (const std::string& own : model.schedulers)
    if (bare(own) == wanted) return own;
  for (const SamplerName& sampler : sampler_names()) {
    const auto own = std::ranges::find(model.schedulers, sampler.class_name);
    if (own != model.schedulers.end() && is_called(sampler, wanted)) return *own;
  }
  for (const SpacingName& spacing : spacing_names()) {
    if (wanted.size() <= spacing.word.size() || !wanted.ends_with(spacing.word)) continue;
    const std::string plain = find_sampler(model, wanted.substr(0, wanted.size() - spacing.word.size()));
    return plain.empty() ? std::string() : with_spacing(model, plain, spacing.word);
  }
  return {};
}

std::string with_spacing(const PipelineInfo& model, std::string_view sampler, std::string_view label) {
  const std::string name = std::string(class_of(sampler)) + ":" + bare(label);
  return std::ranges::count(model.schedulers, name) > 0 ? name : std::string();
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

}  // namespace diffused::api
