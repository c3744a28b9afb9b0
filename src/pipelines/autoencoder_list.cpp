#include "pipelines/autoencoder_list.h"

#include "models/autoencoder_kl.h"
#include "models/autoencoder_kl_flux2.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kVae = "vae";

models::AutoencoderKlConfig& pixels_of(models::AutoencoderKlConfig& config) { return config; }
models::AutoencoderKlConfig& pixels_of(models::AutoencoderKlFlux2Config& config) { return config.inner; }

template <typename Network, typename Config>
Result<AutoencoderPlan> plan(const ModelFolder& folder, bool by_channel) {
  TRY(auto config, folder.config<Config>(kVae));
  models::AutoencoderKlConfig& pixels = pixels_of(config);
  if (!by_channel) pixels.latents_mean = pixels.latents_std = {};
  if (pixels.in_channels != 3 || pixels.out_channels != 3) {
    return folder.refuse(ErrorCode::unsupported, "vae/config.json", "in_channels and out_channels must be 3");
  }
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
