#include "pipelines/autoencoder_list.h"

#include <string>

#include "models/autoencoder_kl.h"
#include "models/autoencoder_kl_flux2.h"
#include "models/autoencoder_kl_qwen_image.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kVae = "vae";

// Forgets what is said of single latent channels, where others than its own pipelines may have the class.
void forget_channels(models::AutoencoderKlConfig& config) { config.latents_mean = config.latents_std = {}; }
void forget_channels(models::AutoencoderKlFlux2Config& config) { forget_channels(config.inner); }
void forget_channels(models::AutoencoderKlQwenImageConfig&) {}

// Why a picture cannot be red, green and blue; empty when it can.
const char* why_no_colours(const models::AutoencoderKlConfig& config) {
  return config.in_channels == 3 && config.out_channels == 3 ? "" : "in_channels and out_channels must be 3";
}
const char* why_no_colours(const models::AutoencoderKlFlux2Config& config) {
  return why_no_colours(config.inner);
}
const char* why_no_colours(const models::AutoencoderKlQwenImageConfig& config) {
  return config.input_channels == 3 ? "" : "input_channels must be 3";
}

template <typename Network, typename Config>
Result<AutoencoderPlan> plan(const ModelFolder& folder, bool by_channel) {
  TRY(auto config, folder.config<Config>(kVae));
  if (!by_channel) forget_channels(config);
  if (const std::string why = why_no_colours(config); !why.empty())
    return folder.refuse(ErrorCode::unsupported, "vae/config.json", why);
  const auto load = [&folder, config](const NetworkPlace& place, LoadedWeights& loaded) {
    return load_component<Network>(folder, kVae, "diffusion_pytorch_model", config, place, loaded);
  };
  return AutoencoderPlan{config.format(), load};
}

struct ListedAutoencoder {
  const char* class_name;
  Result<AutoencoderPlan> (*plan)(const ModelFolder&, bool by_channel);
};
constexpr ListedAutoencoder kAutoencoders[] = {
    {"AutoencoderKL", plan<models::AutoencoderKl, models::AutoencoderKlConfig>},
    {"AutoencoderKLFlux2", plan<models::AutoencoderKlFlux2, models::AutoencoderKlFlux2Config>},
    {"AutoencoderKLQwenImage", plan<models::AutoencoderKlQwenImage, models::AutoencoderKlQwenImageConfig>},
};

}  // namespace

Result<AutoencoderPlan> plan_autoencoder(const ModelFolder& folder, bool by_channel) {
  for (const ListedAutoencoder& listed : kAutoencoders) {
    if (folder.class_of(kVae) != listed.class_name) continue;
    TRY_VOID(folder.require(kVae, "diffusers", listed.class_name));
    return listed.plan(folder, by_channel);
  }
  // Says what is there instead.
  TRY_VOID(folder.require(kVae, "diffusers", kAutoencoders[0].class_name));
  return folder.refuse(ErrorCode::unsupported, "model_index.json",
                       "the autoencoder is of no class that is served");
}

}  // namespace diffused::pipelines
