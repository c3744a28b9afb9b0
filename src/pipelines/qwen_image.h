// Qwen-Image: Diffusers' QwenImagePipeline, with …Img2ImgPipeline and …InpaintPipeline; Qwen-Image-Edit:
// QwenImageEditPipeline, and QwenImageEditPlusPipeline for several pictures to go by.
#pragma once

#include "base/result.h"
#include "pipelines/latent_model.h"
#include "pipelines/load_options.h"

namespace diffused::pipelines {

class ModelFolder;

// Loads the folder's networks. Errors as load_pipeline; may also throw weights::LoadError and what torch
// throws.
Result<LatentModel> load_qwen_image(const ModelFolder& folder, const LoadOptions& options);

}  // namespace diffused::pipelines
