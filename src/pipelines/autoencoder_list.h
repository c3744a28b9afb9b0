// Which autoencoders are served, by the class that model_index.json names for `vae`.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "models/autoencoder.h"
#include "pipelines/component.h"
#include "pipelines/model_folder.h"

namespace diffused::pipelines {

// A folder's autoencoder whose config is read and whose weights are not.
struct AutoencoderPlan {
  models::LatentFormat format;
  // Reads the weights. Throws weights::LoadError.
  std::function<Result<std::shared_ptr<const models::Autoencoder>>(const NetworkPlace&, LoadedWeights&)> load;
};

// Errors: not_found without an autoencoder; unsupported when it is of another class, or not for pictures of
// three channels; those of its config. `folder` must outlive the plan. `by_channel`: whether what a config
// says of single latent channels counts for the family.
Result<AutoencoderPlan> plan_autoencoder(const ModelFolder& folder, bool by_channel);

}  // namespace diffused::pipelines
