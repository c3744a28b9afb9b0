// What the families with a UNet have in common: Stable Diffusion 1, 2 and XL.
#pragma once

#include "models/unet_2d_condition.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"

namespace diffused::pipelines {

class UnetFamily : public Family {
 public:
  const FamilyTraits& traits() const override { return traits_; }
  // None in distilled models, whose network is told the scale.
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override;
  at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                          const GenerateRequest& resolved) const override;
  at::Tensor predict(const NetworkCall& call) const override;

 protected:
  // `traits`: without the latents' sides, which the UNet decides.
  UnetFamily(std::shared_ptr<const models::Unet2DCondition> unet, FamilyTraits traits);

  const models::Unet2DCondition& unet() const { return *unet_; }
  // The sizes that condition the network: [1, sizes] float32 on the CPU, of a UNet with text_time.
  virtual at::Tensor time_ids(const GenerateRequest&, PromptSide) const { return {}; }

 private:
  std::shared_ptr<const models::Unet2DCondition> unet_;
  FamilyTraits traits_;
};

// The folder's unet/config.json, held against the autoencoder. Errors: as load_pipeline.
Result<models::Unet2DConditionConfig> read_unet_config(const LatentLoader& loader);
// data_loss unless text tokens are of the UNet's width.
Result<void> check_text_width(const LatentLoader& loader, const models::Unet2DConditionConfig& unet,
                              std::int64_t text_width);
Result<std::shared_ptr<const models::Unet2DCondition>> load_unet(LatentLoader& loader,
                                                                 const models::Unet2DConditionConfig& config);

}  // namespace diffused::pipelines
