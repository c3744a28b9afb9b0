#include "pipelines/catalog.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "pipelines/flux.h"
#include "pipelines/flux2_klein.h"
#include "pipelines/latent_pipeline.h"
#include "pipelines/loading_border.h"
#include "pipelines/model_folder.h"
#include "pipelines/network_store.h"
#include "pipelines/qwen_image.h"
#include "pipelines/sd3.h"
#include "pipelines/stable_diffusion.h"
#include "pipelines/stable_diffusion_xl.h"
#include "pipelines/z_image.h"

namespace diffused::pipelines {
namespace {

using PipelineResult = Result<std::unique_ptr<Pipeline>>;

struct ListedPipeline {
  const char* class_name;
  Result<LatentModel> (*load)(const ModelFolder&, const LoadOptions&);
};
// The classes of edits stand for the same networks as those of text: what is asked decides, not the folder.
constexpr ListedPipeline kPipelines[] = {
    {"FluxPipeline", load_flux},
    {"FluxImg2ImgPipeline", load_flux},
    {"FluxInpaintPipeline", load_flux},
    {"FluxFillPipeline", load_flux},
    {"FluxControlPipeline", load_flux},
    {"FluxControlImg2ImgPipeline", load_flux},
    {"FluxControlInpaintPipeline", load_flux},
    {"FluxKontextPipeline", load_flux},
    {"FluxKontextInpaintPipeline", load_flux},
    {"Flux2KleinPipeline", load_flux2_klein},
    {"Flux2KleinInpaintPipeline", load_flux2_klein},
    {"LatentConsistencyModelPipeline", load_stable_diffusion},
    {"LatentConsistencyModelImg2ImgPipeline", load_stable_diffusion},
    {"QwenImagePipeline", load_qwen_image},
    {"QwenImageImg2ImgPipeline", load_qwen_image},
    {"QwenImageInpaintPipeline", load_qwen_image},
    {"QwenImageEditPipeline", load_qwen_image},
    {"QwenImageEditPlusPipeline", load_qwen_image},
    {"StableDiffusionPipeline", load_stable_diffusion},
    {"StableDiffusionImg2ImgPipeline", load_stable_diffusion},
    {"StableDiffusionInpaintPipeline", load_stable_diffusion},
    {"StableDiffusionXLPipeline", load_stable_diffusion_xl},
    {"StableDiffusionXLImg2ImgPipeline", load_stable_diffusion_xl},
    {"StableDiffusionXLInpaintPipeline", load_stable_diffusion_xl},
    {"StableDiffusion3Pipeline", load_sd3},
    {"StableDiffusion3Img2ImgPipeline", load_sd3},
    {"StableDiffusion3InpaintPipeline", load_sd3},
    {"ZImagePipeline", load_z_image},
    {"ZImageImg2ImgPipeline", load_z_image},
    {"ZImageInpaintPipeline", load_z_image},
};

Result<LatentModel> load_model(const std::filesystem::path& path, const LoadOptions& options) {
  TRY(const ModelFolder folder, ModelFolder::open(path, options.variant, options.parts, options.vae));
  for (const ListedPipeline& listed : kPipelines) {
    if (folder.class_name() == listed.class_name) return listed.load(folder, options);
  }
  return folder.refuse(ErrorCode::unsupported, "model_index.json",
                       fmt::format("pipeline class '{}' is not one of those served", folder.class_name()));
}

}  // namespace

PipelineResult load_pipeline(const std::filesystem::path& path, const LoadOptions& options) {
  return at_loading_border(path, [&]() -> PipelineResult {
    const c10::InferenceMode inference;
    TRY(LatentModel model, load_model(path, options));
    return make_latent_pipeline(std::move(model), options.prompt_cache_bytes);
  });
}

Result<PipelineInfo> describe_pipeline(const std::filesystem::path& path, LoadOptions options) {
  options.headers_alone = true;
  return at_loading_border(path, [&]() -> Result<PipelineInfo> {
    const c10::InferenceMode inference;
    TRY(LatentModel model, load_model(path, options));
    return std::move(model.info);
  });
}

bool has_family(std::string_view class_name) {
  return std::ranges::find(kPipelines, class_name, &ListedPipeline::class_name) != std::end(kPipelines);
}

std::shared_ptr<NetworkStore> make_network_store() { return std::make_shared<NetworkStore>(); }

}  // namespace diffused::pipelines
