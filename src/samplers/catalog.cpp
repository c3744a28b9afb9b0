#include "samplers/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "samplers/ddim.h"
#include "samplers/ddpm.h"
#include "samplers/deis_multistep.h"
#include "samplers/dpm_solver_multistep.h"
#include "samplers/dpm_solver_sde.h"
#include "samplers/dpm_solver_singlestep.h"
#include "samplers/edm.h"
#include "samplers/euler_discrete.h"
#include "samplers/flow_match_euler.h"
#include "samplers/flow_match_heun.h"
#include "samplers/heun_discrete.h"
#include "samplers/k_dpm_2_discrete.h"
#include "samplers/lcm.h"
#include "samplers/lms_discrete.h"
#include "samplers/pndm.h"
#include "samplers/sa_solver.h"
#include "samplers/unipc_multistep.h"

namespace diffused::samplers {
namespace {

using SamplerResult = Result<std::shared_ptr<const Sampler>>;

template <typename T, auto parse>
SamplerResult make(const boost::json::object& json) {
  TRY(const auto config, parse(json));
  return std::make_shared<T>(config);
}

// The schedule of FlowMatchEuler, and its stochastic step.
SamplerResult make_flow_match_lcm(const boost::json::object& json) {
  TRY(FlowMatchEulerConfig config, FlowMatchEulerConfig::parse(json));
  Options options(json);
  if (options.has("scale_factors")) options.refuse("scale_factors", "absent: pictures keep their size");
  if (options.error()) return tl::unexpected<Error>(*options.error());
  config.stochastic_sampling = true;
  return std::make_shared<FlowMatchEuler>(config);
}

enum class Follows { diffusion, edm, flow, either };  // either: not edm

// When a sampler can have another spacing of its noise levels than its own.
enum class Spaced { never, for_diffusion, always };

struct Listed {
  const char* class_name;
  Follows follows;
  SamplerResult (*make)(const boost::json::object&);
  Spaced spaced = Spaced::never;
};
constexpr Listed kSamplers[] = {
    {"FlowMatchEulerDiscreteScheduler", Follows::flow, make<FlowMatchEuler, FlowMatchEulerConfig::parse>,
     Spaced::always},
    {"FlowMatchHeunDiscreteScheduler", Follows::flow, make<FlowMatchHeun, FlowMatchHeunConfig::parse>},
    {"FlowMatchLCMScheduler", Follows::flow, make_flow_match_lcm, Spaced::always},
    {"DPMSolverMultistepScheduler", Follows::either,
     make<DpmSolverMultistep, DpmSolverMultistepConfig::parse>, Spaced::for_diffusion},
    {"DPMSolverSinglestepScheduler", Follows::either,
     make<DpmSolverSinglestep, DpmSolverSinglestepConfig::parse>, Spaced::for_diffusion},
    {"UniPCMultistepScheduler", Follows::either, make<UniPcMultistep, UniPcMultistepConfig::parse>,
     Spaced::for_diffusion},
    {"EulerDiscreteScheduler", Follows::diffusion, make<EulerDiscrete, EulerDiscreteConfig::parse>,
     Spaced::for_diffusion},
    {"EulerAncestralDiscreteScheduler", Follows::diffusion,
     make<EulerDiscrete, EulerDiscreteConfig::parse_ancestral>},
    {"HeunDiscreteScheduler", Follows::diffusion, make<HeunDiscrete, HeunDiscreteConfig::parse>,
     Spaced::for_diffusion},
    {"LMSDiscreteScheduler", Follows::diffusion, make<LmsDiscrete, LmsDiscreteConfig::parse>,
     Spaced::for_diffusion},
    {"KDPM2DiscreteScheduler", Follows::diffusion, make<KDpm2Discrete, KDpm2DiscreteConfig::parse>,
     Spaced::for_diffusion},
    {"KDPM2AncestralDiscreteScheduler", Follows::diffusion,
     make<KDpm2Discrete, KDpm2DiscreteConfig::parse_ancestral>, Spaced::for_diffusion},
    {"DPMSolverSDEScheduler", Follows::diffusion, make<DpmSolverSde, DpmSolverSdeConfig::parse>,
     Spaced::for_diffusion},
    {"DEISMultistepScheduler", Follows::either, make<DeisMultistep, DeisMultistepConfig::parse>,
     Spaced::for_diffusion},
    {"SASolverScheduler", Follows::either, make<SaSolver, SaSolverConfig::parse>, Spaced::for_diffusion},
    {"DDIMScheduler", Follows::diffusion, make<Ddim, DdimConfig::parse>},
    {"DDPMScheduler", Follows::diffusion, make<Ddpm, DdpmConfig::parse>},
    {"PNDMScheduler", Follows::diffusion, make<Pndm, PndmConfig::parse>},
    {"LCMScheduler", Follows::diffusion, make<Lcm, LcmConfig::parse>},
    {"TCDScheduler", Follows::diffusion, make<Lcm, LcmConfig::parse_tcd>},
    {"EDMDPMSolverMultistepScheduler", Follows::edm, make<EdmDpmSolver, EdmConfig::parse_dpm>},
    {"EDMEulerScheduler", Follows::edm, make<EdmEuler, EdmConfig::parse>},
};

// What follows the colon of a name, and the option that it stands for.
constexpr std::pair<std::string_view, const char*> kSpacings[] = {
    {"karras", "use_karras_sigmas"}, {"exponential", "use_exponential_sigmas"}, {"beta", "use_beta_sigmas"}};

// The options with this spacing and no other.
boost::json::object with_spacing(boost::json::object config, std::string_view spacing) {
  for (const auto& [word, option] : kSpacings) config[option] = word == spacing;
  return config;
}

}  // namespace

std::vector<std::string> sampler_names(Process process) {
  const Follows own = process == Process::flow  ? Follows::flow
                      : process == Process::edm ? Follows::edm
                                                : Follows::diffusion;
  std::vector<std::string> names;
  for (const Listed& listed : kSamplers) {
    const bool either = listed.follows == Follows::either && process != Process::edm;
    if (listed.follows != own && !either) continue;
    names.emplace_back(listed.class_name);
    if (listed.spaced == Spaced::never || (listed.spaced != Spaced::always && process == Process::flow))
      continue;
    for (const auto& [word, option] : kSpacings)
      names.push_back(fmt::format("{}:{}", listed.class_name, word));
  }
  return names;
}

SamplerResult make_sampler(const std::string& name, const boost::json::object& config) {
  const std::string_view class_name = std::string_view(name).substr(0, name.find(':'));
  const bool spaced = class_name.size() < name.size();
  const std::string_view spacing = std::string_view(name).substr(spaced ? class_name.size() + 1 : 0);
  const bool known =
      !spaced || std::ranges::any_of(kSpacings, [&](const auto& s) { return s.first == spacing; });
  for (const Listed& listed : kSamplers) {
    if (class_name != listed.class_name || !known || (spaced && listed.spaced == Spaced::never)) continue;
    return listed.make(spaced ? with_spacing(config, spacing) : config);
  }
  return fail(ErrorCode::unsupported, fmt::format("scheduler '{}' is not one of those known here", name),
              "scheduler");
}

std::vector<Preset> presets(Process process) {
  if (process != Process::diffusion) return {};
  const char *const kMultistep = "DPMSolverMultistepScheduler", *const kSinglestep =
                                                                    "DPMSolverSinglestepScheduler";
  const boost::json::object sde{{"algorithm_type", "sde-dpmsolver++"}};
  return {{"DPM++ 2M SDE", kMultistep, sde},
          {"DPM++ 2M SDE Karras", kMultistep, with_spacing(sde, "karras")},
          {"DPM++ SDE", kSinglestep, sde},
          {"DPM++ SDE Karras", kSinglestep, with_spacing(sde, "karras")}};
}

boost::json::object with_flow_options(boost::json::object config) {
  const auto otherwise = [&config](const char* key, const boost::json::value& value) {
    if (!config.contains(key)) config[key] = value;
  };
  if (config.contains("shift")) otherwise("flow_shift", config.at("shift"));
  if (config.contains("flow_shift")) otherwise("shift", config.at("flow_shift"));
  otherwise("use_flow_sigmas", true);
  otherwise("prediction_type", "flow_prediction");
  return config;
}

}  // namespace diffused::samplers
