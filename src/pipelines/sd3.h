// Stable Diffusion 3 and 3.5: Diffusers' StableDiffusion3Pipeline.
#pragma once

#include <memory>

#include "pipelines/catalog.h"

namespace diffused::pipelines {

class ModelFolder;

// Loads the folder's networks. Errors as load_pipeline; may also throw weights::LoadError and what torch
// throws.
Result<std::unique_ptr<Pipeline>> load_sd3(const ModelFolder& folder, const LoadOptions& options);

}  // namespace diffused::pipelines
