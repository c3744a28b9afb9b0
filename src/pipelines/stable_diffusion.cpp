// Follows diffusers 0.42.1, pipelines/stable_diffusion/pipeline_stable_diffusion.py.
#include "pipelines/stable_diffusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cstdio>

#include "pipelines/latent_request.h"
#include "pipelines/text_encoders.h"
#include "pipelines/unet_family.h"

namespace diffused::pipelines {
namespace {

constexpr std::int64_t kSideOf2022 = 64;  // latents

// As the pipelines' constructors do, for configs of 2022. That of inpainting does not forbid clip_sample.
void amend_scheduler(boost::json::object& options, bool masked) {
  options["steps_offset"] = 1;
  options[masked ? "skip_prk_steps" : "clip_sample"] = masked;
}

// The same of the UNet's config: before 0.9.0 it could say a smaller size than any model was trained for.
Result<void> amend_size(const ModelFolder& folder, models::Unet2DConditionConfig& config) {
  constexpr int kMinorMin = 9;
  const std::string file = "unet/config.json";
  TRY(const boost::json::object json, folder.json(file));
  const boost::json::value* const version = json.if_contains("_diffusers_version");
  const boost::json::value* const side = json.if_contains("sample_size");
  if (!version || !version->is_string() || !side || !side->is_int64()) return {};
  int major = 0, minor = 0;
  if (std::sscanf(version->get_string().c_str(), "%d.%d", &major, &minor) != 2) return {};
  if (major == 0 && minor < kMinorMin) config.sample_size = std::max(config.sample_size, kSideOf2022);
  return {};
}

constexpr FamilyDefaults kStableDiffusionDefaults{.process = samplers::Process::diffusion,
                                                  .steps = 50,
                                                  .guidance_scale = 7.5,
                                                  .amend_scheduler = amend_scheduler};

// LatentConsistencyModelPipeline's, which leaves its scheduler as it is; and with Img2Img.
constexpr FamilyDefaults kLatentConsistencyDefaults{
    .process = samplers::Process::diffusion, .steps = 4, .guidance_scale = 8.5};

FamilyTraits traits_of(const ClipEncoder& clip, bool consistent) {
  FamilyTraits traits;
  traits.clip_skip_max = clip.clip_skip_max();
  traits.image_strength = 0.8;
  traits.inpaint_strength = 1.0;
  if (consistent) traits.strength_rule = StrengthRule::shorten_schedule;
  return traits;
}

class StableDiffusion final : public UnetFamily {
 public:
  StableDiffusion(std::shared_ptr<const models::Unet2DCondition> unet, ClipEncoder clip, bool consistent)
      : UnetFamily(std::move(unet), traits_of(clip, consistent)), clip_(std::move(clip)) {}

  Result<void> complete(GenerateRequest& request) const override {
    request.negative_prompt = request.negative_prompt.value_or("");
    TRY_VOID(chunks(request));
    return check_share(request.guidance_rescale, "guidance_rescale");
  }

  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override {
    const int count = chunks(resolved).value(), tokens = clip_.length() * count;
    return {.encode_flops = count * clip_.config().flops(clip_.length()),
            .network_flops = unet().config().flops(size.height, size.width, tokens),
            .tokens_key = tokens};
  }

  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override {
    const bool positive = side == PromptSide::positive, weighted = is_weighted(resolved);
    const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
    PromptIds prompts;
    TRY(prompts.chunks, chunks(resolved));
    TRY(auto text, clip_.tokenize(prompt, weighted, clip_.length(), prompts.chunks));
    prompts.texts = {std::move(text)};
    // clip_skip is for the positive prompt alone, as in Diffusers.
    prompts.clip_skip = positive || weighted ? *resolved.clip_skip : 0;
    prompts.common = !positive && prompt.empty() && !weighted;
    return prompts;
  }

  PromptEmbedding encode(const PromptIds& prompt) const override {
    const auto text = clip_.embed(prompt.texts[0], prompt.chunks, ClipState::last, prompt.clip_skip);
    return {.context = unet().embed_context(text.tokens), .repeats = {}, .pooled = {}};
  }

 private:
  Result<int> chunks(const GenerateRequest& request) const {
    std::vector<ClipTextUse> texts = {{clip_, request.prompt}};
    if (guidance(request)) texts.push_back({clip_, *request.negative_prompt});
    return count_chunks(request, clip_.length(), texts);
  }

  ClipEncoder clip_;
};

}  // namespace

Result<LatentModel> load_stable_diffusion(const ModelFolder& folder, const LoadOptions& options) {
  const bool consistent = folder.class_name().starts_with("LatentConsistencyModel");
  TRY(LatentLoader loader,
      LatentLoader::begin(folder, options,
                          consistent ? kLatentConsistencyDefaults : kStableDiffusionDefaults));
  TRY(auto config, read_unet_config(loader));
  TRY_VOID(amend_size(folder, config));
  if (config.text_time) {
    return folder.refuse(ErrorCode::unsupported, "unet/config.json",
                         "addition_embed_type is for StableDiffusionXLPipeline");
  }
  TRY(ClipEncoder clip, ClipEncoder::load(loader, "", "CLIPTextModel"));
  TRY_VOID(check_text_width(loader, config, clip.config().hidden_size));
  TRY(auto unet, load_unet(loader, config));
  return loader.finish(std::make_unique<StableDiffusion>(std::move(unet), std::move(clip), consistent));
}

}  // namespace diffused::pipelines
