// Stable Diffusion 1 and 2 and their fine-tunes: Diffusers' StableDiffusionPipeline, without its safety
// checker.
#pragma once

#include <memory>

#include "pipelines/catalog.h"

namespace diffused::pipelines {

class ModelFolder;

// Loads the folder's networks. Errors as load_pipeline; may also throw weights::LoadError and what torch
// throws.
Result<std::unique_ptr<Pipeline>> load_stable_diffusion(const ModelFolder& folder,
                                                        const LoadOptions& options);

}  // namespace diffused::pipelines
