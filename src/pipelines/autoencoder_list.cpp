#include "pipelines/autoencoder_list.h"

#include "models/autoencoder_kl.h"

namespace diffused::pipelines {
namespace {

constexpr const char* kVae = "vae";

Result<AutoencoderPlan> plan_autoencoder_kl(const ModelFolder& folder, bool by_channel) {
  TRY(auto config, folder.config<models::AutoencoderKlConfig>(kVae));
  if (!by_channel) config.latents_mean = config.latents_std = {};
  if (config.in_channels != 3 || config.out_channels != 3) {
    return folder.refuse(ErrorCode::unsupported, "vae/config.json", "in_channels and out_channels must be 3");
  }
  const auto load = [&folder, config](const NetworkPlace& place, LoadedWeights& loaded) {
    return load_component<models::AutoencoderKl>(folder, kVae, "diffusion_pytorch_model", config, place,
                                                 loaded);
  };
  return AutoencoderPlan{config.format(), load};
}

struct ListedAutoencoder {
  const char* class_name;
  Result<AutoencoderPlan> (*plan)(const ModelFolder&, bool by_channel);
};
constexpr ListedAutoencoder kAutoencoders[] = {
    {"AutoencoderKL", plan_autoencoder_kl},
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
