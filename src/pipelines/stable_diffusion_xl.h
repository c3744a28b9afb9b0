// Stable Diffusion XL, Turbo, Lightning and LCM: Diffusers' StableDiffusionXLPipeline, without its
// watermark.
#pragma once

#include <memory>

#include "pipelines/catalog.h"

namespace diffused::pipelines {

class ModelFolder;

// Loads the folder's networks. Errors as load_pipeline; may also throw weights::LoadError and what torch
// throws.
Result<std::unique_ptr<Pipeline>> load_stable_diffusion_xl(const ModelFolder& folder,
                                                           const LoadOptions& options);

}  // namespace diffused::pipelines
