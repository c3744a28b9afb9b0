// FLUX.1 schnell and dev: Diffusers' FluxPipeline; and FLUX.1 Fill, its FluxFillPipeline.
#pragma once

#include <memory>

#include "pipelines/catalog.h"

namespace diffused::pipelines {

class ModelFolder;

// Loads the folder's networks. Errors as load_pipeline; may also throw weights::LoadError and what torch
// throws.
Result<std::unique_ptr<Pipeline>> load_flux(const ModelFolder& folder, const LoadOptions& options);

}  // namespace diffused::pipelines
