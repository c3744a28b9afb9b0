// The pipeline of every family of latent diffusion models.
#pragma once

#include <memory>

#include "job/pipeline.h"
#include "pipelines/latent_model.h"

namespace diffused::pipelines {

// prompt_cache_bytes: as in LoadOptions.
std::unique_ptr<Pipeline> make_latent_pipeline(LatentModel model, std::size_t prompt_cache_bytes);

}  // namespace diffused::pipelines
