// Follows diffusers 0.42.1, pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py, …_img2img.py and
// …_inpaint.py; the refiner is one without the first text encoder.
#include "pipelines/stable_diffusion_xl.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "pipelines/latent_request.h"
#include "pipelines/text_encoders.h"
#include "pipelines/unet_family.h"

namespace diffused::pipelines {
namespace {

constexpr FamilyDefaults kXlDefaults{
    .process = samplers::Process::diffusion, .steps = 50, .guidance_scale = 5.0, .latents_by_channel = true};
constexpr int kSizeMax = 1 << 16;  // pixels, of the sizes that condition
// What conditions besides the text: six sizes, or four and a score.
constexpr std::int64_t kSizes = 6, kSizesAndScore = 5;
constexpr double kAestheticScore = 6, kNegativeAestheticScore = 2.5;

using Pixels = std::array<int, 2>;  // height (or top) and width (or left)

struct XlParts {
  std::shared_ptr<const models::Unet2DCondition> unet;
  std::optional<ClipEncoder> clip;  // the refiner has none
  ClipEncoder clip_2;
  bool scores = false;  // whether the network is told an aesthetic score, not the size that is meant
  // Whether a negative prompt that is absent, not only empty, is zeros instead of an encoded text.
  bool zeros_for_no_prompt = true;
};

FamilyTraits traits_of(const XlParts& parts) {
  FamilyTraits traits;
  traits.clip_skip_max = parts.clip_2.clip_skip_max();
  if (parts.clip) traits.clip_skip_max = std::min(*traits.clip_skip_max, parts.clip->clip_skip_max());
  traits.parts_of_run = true;
  traits.image_strength = 0.3;
  traits.inpaint_strength = 0.9999;
  traits.inpaint_guidance_scale = 7.5;
  return traits;
}

Result<void> check_sizes(const std::optional<Pixels>& pixels, const char* field) {
  for (const int side : *pixels) TRY_VOID(check_range(side, 0, kSizeMax, field));
  return {};
}

// The sizes that a request leaves open.
void fill_in_sizes(GenerateRequest& r) {
  const Pixels picture = {*r.height, *r.width}, corner = {0, 0};
  r.original_size = r.original_size.value_or(picture);
  r.target_size = r.target_size.value_or(picture);
  r.crops_coords_top_left = r.crops_coords_top_left.value_or(corner);
  // Text-to-image has negative sizes all together or not at all; edits have each by itself.
  const bool as_positive = !r.init_image && !(r.negative_original_size && r.negative_target_size);
  if (as_positive) {
    r.negative_original_size = r.original_size;
    r.negative_crops_coords_top_left = r.crops_coords_top_left;
    r.negative_target_size = r.target_size;
  }
  r.negative_original_size = r.negative_original_size.value_or(*r.original_size);
  r.negative_crops_coords_top_left = r.negative_crops_coords_top_left.value_or(corner);
  r.negative_target_size = r.negative_target_size.value_or(*r.target_size);
}

class StableDiffusionXl final : public UnetFamily {
 public:
  explicit StableDiffusionXl(XlParts parts)
      : UnetFamily(std::move(parts.unet), traits_of(parts)),
        clip_(std::move(parts.clip)),
        clip_2_(std::move(parts.clip_2)),
        scores_(parts.scores),
        zeros_for_no_prompt_(parts.zeros_for_no_prompt) {}

  Result<void> complete(GenerateRequest& request) const override;
  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override {
    const int count = chunks(resolved).value(), tokens = clip_2_.length() * count;
    double flops = clip_2_.config().flops(clip_2_.length());
    if (clip_) flops += clip_->config().flops(clip_->length());
    return {.encode_flops = count * flops,
            .network_flops = unet().config().flops(size.height, size.width, tokens),
            .tokens_key = tokens};
  }
  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override;
  PromptEmbedding encode(const PromptIds& prompt) const override;

 protected:
  at::Tensor time_ids(const GenerateRequest& resolved, PromptSide side) const override;

 private:
  Result<int> chunks(const GenerateRequest& request) const;

  std::optional<ClipEncoder> clip_;
  ClipEncoder clip_2_;
  bool scores_;
  bool zeros_for_no_prompt_;
};

Result<void> StableDiffusionXl::complete(GenerateRequest& request) const {
  if (scores_ && !request.init_image)
    return wrong_field("this model finishes pictures: it needs an image", "image");
  // Without the first encoder Diffusers gives the second one the first prompt.
  if (!clip_) request.prompt_2 = request.negative_prompt_2 = std::nullopt;
  or_first(request.prompt_2, request.prompt);
  if (!zeros_for_no_prompt_) request.negative_prompt = request.negative_prompt.value_or("");
  if (request.negative_prompt) or_first(request.negative_prompt_2, *request.negative_prompt);
  TRY_VOID(chunks(request));
  fill_in_sizes(request);
  TRY_VOID(check_sizes(request.original_size, "original_size"));
  TRY_VOID(check_sizes(request.crops_coords_top_left, "crops_coords_top_left"));
  TRY_VOID(check_sizes(request.target_size, "target_size"));
  TRY_VOID(check_sizes(request.negative_original_size, "negative_original_size"));
  TRY_VOID(check_sizes(request.negative_crops_coords_top_left, "negative_crops_coords_top_left"));
  TRY_VOID(check_sizes(request.negative_target_size, "negative_target_size"));
  if (!scores_) return check_share(request.guidance_rescale, "guidance_rescale");
  request.aesthetic_score = request.aesthetic_score.value_or(kAestheticScore);
  request.negative_aesthetic_score = request.negative_aesthetic_score.value_or(kNegativeAestheticScore);
  if (!std::isfinite(*request.aesthetic_score))
    return wrong_field("aesthetic_score must be a number", "aesthetic_score");
  if (!std::isfinite(*request.negative_aesthetic_score))
    return wrong_field("negative_aesthetic_score must be a number", "negative_aesthetic_score");
  return check_share(request.guidance_rescale, "guidance_rescale");
}

Result<PromptIds> StableDiffusionXl::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive, weighted = is_weighted(resolved);
  PromptIds prompts;
  TRY(prompts.chunks, chunks(resolved));
  if (!positive && !resolved.negative_prompt) {
    prompts.zeros = true;
    prompts.common = prompts.chunks == 1;
    return prompts;
  }
  const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
  const std::string& prompt_2 = positive ? *resolved.prompt_2 : *resolved.negative_prompt_2;
  if (clip_) {
    TRY(auto text, clip_->tokenize(prompt, weighted, clip_->length(), prompts.chunks));
    prompts.texts.push_back(std::move(text));
  }
  TRY(auto text_2, clip_2_.tokenize(prompt_2, weighted, clip_2_.length(), prompts.chunks));
  prompts.texts.push_back(std::move(text_2));
  // clip_skip is for the positive prompt alone, as in Diffusers.
  prompts.clip_skip = positive || weighted ? *resolved.clip_skip : 0;
  prompts.common = !positive && prompt.empty() && prompt_2.empty() && !weighted;
  return prompts;
}

Result<int> StableDiffusionXl::chunks(const GenerateRequest& request) const {
  std::vector<ClipTextUse> texts = {{clip_2_, *request.prompt_2}};
  const bool negative = guidance(request) && request.negative_prompt;
  if (negative) texts.push_back({clip_2_, *request.negative_prompt_2});
  if (clip_) texts.push_back({*clip_, request.prompt});
  if (clip_ && negative) texts.push_back({*clip_, *request.negative_prompt});
  return count_chunks(request, clip_2_.length(), texts);
}

PromptEmbedding StableDiffusionXl::encode(const PromptIds& prompt) const {
  if (prompt.zeros) {
    const at::TensorOptions options = unet().options();
    const at::Tensor text =
        at::zeros({1, clip_2_.length() * prompt.chunks, unet().config().cross_attention_dim},
                  options);  // [1, 77 · chunks, D]
    return {.context = unet().embed_context(text),
            .repeats = {},
            .pooled = at::zeros({1, clip_2_.config().projection_dim}, options)};
  }
  const auto clip_2 =
      clip_2_.embed(prompt.texts.back(), prompt.chunks, ClipState::penultimate, prompt.clip_skip);
  at::Tensor text = clip_2.tokens;  // [1, 77 · chunks, D]
  if (clip_) {
    const auto clip = clip_->embed(prompt.texts[0], prompt.chunks, ClipState::penultimate, prompt.clip_skip);
    text = at::cat({clip.tokens, text}, -1);
  }
  return {.context = unet().embed_context(text), .repeats = {}, .pooled = clip_2.pooled};
}

at::Tensor StableDiffusionXl::time_ids(const GenerateRequest& r, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  const Pixels& original = positive ? *r.original_size : *r.negative_original_size;
  const Pixels& crop = positive ? *r.crops_coords_top_left : *r.negative_crops_coords_top_left;
  const Pixels& target = positive ? *r.target_size : *r.negative_target_size;
  std::vector<float> told;
  for (const Pixels* const pixels : {&original, &crop})
    told.insert(told.end(), pixels->begin(), pixels->end());
  if (scores_)
    told.push_back(static_cast<float>(positive ? *r.aesthetic_score : *r.negative_aesthetic_score));
  else
    told.insert(told.end(), target.begin(), target.end());
  return at::tensor(told, at::kFloat).unsqueeze(0);  // [1, 6], or 5 with a score
}

// Whether the UNet's conditions are those of Stable Diffusion XL.
Result<void> check_conditions(const ModelFolder& folder, const models::Unet2DConditionConfig& unet,
                              const XlParts& parts) {
  const ClipEncoder& clip_2 = parts.clip_2;
  const std::int64_t told = parts.scores ? kSizesAndScore : kSizes;
  const std::int64_t size = told * unet.addition_time_embed_dim + clip_2.config().projection_dim;
  if (unet.projection_class_embeddings_input_dim != size) {
    return folder.refuse(
        ErrorCode::data_loss, "unet/config.json",
        fmt::format("projection_class_embeddings_input_dim is {}, but {} and text_encoder_2 give {}",
                    unet.projection_class_embeddings_input_dim,
                    parts.scores ? "four sizes, a score" : "six sizes", size));
  }
  if (parts.clip && parts.clip->length() != clip_2.length()) {
    return folder.refuse(ErrorCode::data_loss, "tokenizer_2/tokenizer_config.json",
                         fmt::format("model_max_length is {}, but that of tokenizer is {}", clip_2.length(),
                                     parts.clip->length()));
  }
  return {};
}

}  // namespace

Result<LatentModel> load_stable_diffusion_xl(const ModelFolder& folder, const LoadOptions& options) {
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, kXlDefaults));
  TRY(const auto config, read_unet_config(loader));
  if (!config.text_time) {
    return folder.refuse(ErrorCode::unsupported, "unet/config.json",
                         "addition_embed_type must be text_time for this pipeline");
  }
  TRY(const bool zeros, folder.option("force_zeros_for_empty_prompt", true));
  TRY(const bool scores, folder.option("requires_aesthetics_score", false));
  std::optional<ClipEncoder> clip;
  const bool refines = folder.class_of("text_encoder").empty();
  if (!refines) {
    TRY(clip, ClipEncoder::load(loader, "", "CLIPTextModel"));
  }
  TRY(ClipEncoder clip_2, ClipEncoder::load(loader, "_2", "CLIPTextModelWithProjection"));
  XlParts parts{.unet = {},
                .clip = std::move(clip),
                .clip_2 = std::move(clip_2),
                .scores = scores,
                .zeros_for_no_prompt = zeros};
  TRY_VOID(check_conditions(folder, config, parts));
  TRY_VOID(check_text_width(
      loader, config,
      (parts.clip ? parts.clip->config().hidden_size : 0) + parts.clip_2.config().hidden_size));
  TRY(parts.unet, load_unet(loader, config));
  return loader.finish(std::make_unique<StableDiffusionXl>(std::move(parts)));
}

}  // namespace diffused::pipelines
