// Follows diffusers 0.42.1, pipelines/flux/pipeline_flux.py, with …_img2img.py, …_inpaint.py, …_fill.py,
// …_kontext.py, …_kontext_inpaint.py and those of …_control.py.
#include "pipelines/flux.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "models/flux_transformer.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/latent_request.h"
#include "pipelines/packed_latents.h"
#include "pipelines/text_encoders.h"

namespace diffused::pipelines {
namespace {

// What Diffusers takes when a call names none.
constexpr FamilyDefaults kFluxDefaults{
    .process = samplers::Process::flow, .steps = 28, .guidance_scale = 3.5};
constexpr FamilyDefaults kFillDefaults{
    .process = samplers::Process::flow, .steps = 50, .guidance_scale = 30.0};
constexpr double kEditGuidanceScale = 7.0;
constexpr int kFluxSequenceLengthDefault = 512;
constexpr std::int64_t kLatentSideDefault = 128;

constexpr int kFluxSequenceLengthMin = 2;  // a token and the end
constexpr int kFluxSequenceLengthMax = 512;
// Diffusers tells positions in the weights' dtype; bfloat16 counts tokens up to 256.
constexpr std::int64_t kLatentSideMax = 256 * kLatentPatch;
constexpr double kTimestepsTrained = 1000;  // the network is told timesteps in thousandths

// The sizes that FLUX.1 Kontext was trained to be shown a picture in, width and height.
constexpr std::array<std::array<int, 2>, 17> kKontextSizes = {{{672, 1568},
                                                               {688, 1504},
                                                               {720, 1456},
                                                               {752, 1392},
                                                               {800, 1328},
                                                               {832, 1248},
                                                               {880, 1184},
                                                               {944, 1104},
                                                               {1024, 1024},
                                                               {1104, 944},
                                                               {1184, 880},
                                                               {1248, 832},
                                                               {1328, 800},
                                                               {1392, 752},
                                                               {1456, 720},
                                                               {1504, 688},
                                                               {1568, 672}}};

enum class FluxKind {
  plain,
  fills,    // the network also sees a mask and what it keeps of the picture
  kontext,  // the network also sees a picture to go by
  control,  // the same, as further channels
};

struct FluxParts {
  std::shared_ptr<const models::FluxTransformer> transformer;
  ClipEncoder clip;
  T5TextEncoder t5;
  FluxKind kind = FluxKind::plain;
  int pixels_per_token = 1;  // of each side
};

class Flux final : public Family {
 public:
  explicit Flux(FluxParts parts) : parts_(std::move(parts)) {
    traits_.latent_multiple = kLatentPatch;
    traits_.latent_side_max = kLatentSideMax;
    traits_.latent_side_default = kLatentSideDefault;
    traits_.true_cfg_scale = true;
    if (parts_.kind == FluxKind::fills) {
      traits_.fills = traits_.fill_encodes_picture = true;
      traits_.inpaint_strength = 1;
    } else if (parts_.kind == FluxKind::kontext) {
      traits_.references_max = 1;
      traits_.starts_without_mask = false;
      traits_.source_reference = SourceReference::without_other;
      traits_.source_is_mean = traits_.masked_picture_draws = true;
      traits_.inpaint_strength = 1;
    } else {
      traits_.controls = parts_.kind == FluxKind::control;
      traits_.references_max = traits_.controls ? 1 : 0;
      traits_.image_guidance_scale = traits_.inpaint_guidance_scale = kEditGuidanceScale;
    }
  }

  const FamilyTraits& traits() const override { return traits_; }
  Result<void> complete(GenerateRequest& request) const override;
  // guidance_scale is told to the network. Classifier-free guidance is another scale, and only with a
  // negative prompt, which may be empty but must be there.
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override {
    if (*resolved.true_cfg_scale > 1 && resolved.negative_prompt)
      return Guidance{.scale = *resolved.true_cfg_scale};
    return std::nullopt;
  }
  samplers::ScheduleRequest schedule_request(const GenerateRequest& resolved,
                                             LatentSize size) const override {
    return packed_schedule(resolved, size);
  }
  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override;
  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override;
  PromptEmbedding encode(const PromptIds& prompt) const override;
  at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                          const GenerateRequest& resolved) const override;
  Result<ReferenceFit> reference_fit(int width, int height) const override;
  at::Tensor fill(const at::Tensor& mask, const at::Tensor& kept) const override;
  at::Tensor predict(const NetworkCall& call) const override;
  at::Tensor pack(const at::Tensor& latents) const override { return packed(latents); }
  at::Tensor unpack(const at::Tensor& latents, LatentSize size) const override {
    return unpacked(latents, size);
  }

 private:
  FluxParts parts_;
  FamilyTraits traits_;
};

Result<void> Flux::complete(GenerateRequest& request) const {
  or_first(request.prompt_2, request.prompt);
  if (request.negative_prompt) or_first(request.negative_prompt_2, *request.negative_prompt);
  request.max_sequence_length = request.max_sequence_length.value_or(kFluxSequenceLengthDefault);
  request.true_cfg_scale = request.true_cfg_scale.value_or(1);
  if (!std::isfinite(*request.true_cfg_scale))
    return wrong_field("true_cfg_scale must be a number", "true_cfg_scale");
  return check_range(*request.max_sequence_length, kFluxSequenceLengthMin, kFluxSequenceLengthMax,
                     "max_sequence_length");
}

FamilyWork Flux::work(const GenerateRequest& resolved, LatentSize size) const {
  const int text_tokens = *resolved.max_sequence_length;
  std::int64_t tokens = packed_tokens(size);
  if (!traits_.controls) tokens += reference_tokens(resolved, parts_.pixels_per_token);
  return {.encode_flops =
              parts_.clip.config().flops(parts_.clip.length()) + parts_.t5.config().flops(text_tokens),
          .network_flops = parts_.transformer->config().flops(tokens, text_tokens),
          .tokens_key = text_tokens};
}

Result<PromptIds> Flux::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  PromptIds prompts;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  const bool weighted = is_weighted(resolved);
  // Of CLIP only the first chunk's pooled text is used.
  TRY(auto text, parts_.clip.tokenize(positive ? resolved.prompt : *resolved.negative_prompt, weighted,
                                      parts_.clip.length(), 1));
  TRY(auto text_2, parts_.t5.tokenize(positive ? *resolved.prompt_2 : *resolved.negative_prompt_2, weighted,
                                      prompts.max_sequence_length));
  prompts.texts = {std::move(text), std::move(text_2)};
  return prompts;
}

PromptEmbedding Flux::encode(const PromptIds& prompt) const {
  return {.context = parts_.transformer->embed_context(parts_.t5.encode(prompt.texts[1])),
          .repeats = {},
          .pooled = parts_.clip.embed(prompt.texts[0], 1, ClipState::last, 0).pooled};
}

at::Tensor Flux::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                              const GenerateRequest& resolved) const {
  const std::int64_t count = timesteps.size(0);
  std::vector<at::Tensor> all_timesteps, pooled;
  for (const PromptEmbedding* const prompt : {prompts.negative, prompts.positive}) {
    if (!prompt) continue;
    // Rounded to the dtype before the division and after, as Diffusers does.
    all_timesteps.push_back(timesteps.to(prompt->pooled.scalar_type()) / kTimestepsTrained);
    pooled.push_back(prompt->pooled.expand({count, -1}));
  }
  models::FluxConditions conditions{
      .timesteps = at::cat(all_timesteps), .guidance = {}, .pooled = at::cat(pooled)};
  if (parts_.transformer->config().guidance_embeds) {
    conditions.guidance =
        at::full({conditions.timesteps.size(0)}, *resolved.guidance_scale, conditions.timesteps.options());
  }
  return parts_.transformer->modulations(conditions);
}

at::Tensor Flux::fill(const at::Tensor& mask, const at::Tensor& kept) const {
  // The mask in full: the pixels of a latent are its channels.
  const std::int64_t scale = mask.size(3) / kept.size(3);
  const at::Tensor pixels = mask.squeeze(1)
                                .unflatten(2, {-1, scale})
                                .unflatten(1, {-1, scale})  // [1, h, scale, w, scale]
                                .permute({0, 2, 4, 1, 3})
                                .flatten(1, 2);       // [1, scale², h, w]
  return at::cat({packed(kept), packed(pixels)}, 2);  // [1, tokens, patch² (C + scale²)]
}

// The size of the nearest aspect; of equally near ones the narrowest.
Result<ReferenceFit> Flux::reference_fit(int width, int height) const {
  const int multiple = parts_.pixels_per_token;
  if (std::min(width, height) < multiple) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a reference picture must have {} pixels a side or more, not {}x{}", multiple,
                            width, height));
  }
  if (traits_.controls) return ReferenceFit{width, height, width, height};  // any: see FamilyTraits::controls
  // The aspect of whole tokens, as Diffusers has it.
  const double aspect = static_cast<double>(width / multiple) / (height / multiple);
  const auto distance = [aspect](const std::array<int, 2>& size) {
    return std::abs(aspect - static_cast<double>(size[0]) / size[1]);
  };
  const auto [near_width, near_height] = *std::ranges::min_element(kKontextSizes, {}, distance);
  const int fitted_width = near_width / multiple * multiple;
  const int fitted_height = near_height / multiple * multiple;
  return ReferenceFit{.resized_width = fitted_width,
                      .resized_height = fitted_height,
                      .width = fitted_width,
                      .height = fitted_height};
}

at::Tensor Flux::predict(const NetworkCall& call) const {
  return parts_.transformer->forward(call.tokens(), packed_grids(call), call.contexts(), call.conditioning);
}

// Whether denoiser and text encoders speak of the same texts.
Result<void> check_text(const ModelFolder& folder, const models::FluxTransformerConfig& transformer,
                        const ClipEncoder& clip, const T5TextEncoder& t5) {
  const auto check = [&](const char* key, std::int64_t wanted, const char* encoder, std::int64_t width) {
    if (wanted == width) return Result<void>();
    return Result<void>(
        folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                      fmt::format("{} is {}, but {} gives {} values", key, wanted, encoder, width)));
  };
  TRY_VOID(check("pooled_projection_dim", transformer.pooled_projection_dim, "text_encoder",
                 clip.config().hidden_size));
  return check("joint_attention_dim", transformer.joint_attention_dim, "text_encoder_2", t5.config().d_model);
}

}  // namespace

Result<LatentModel> load_flux(const ModelFolder& folder, const LoadOptions& options) {
  const bool fills = folder.class_name() == "FluxFillPipeline";
  const bool kontext = folder.class_name().starts_with("FluxKontext");
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, fills ? kFillDefaults : kFluxDefaults));
  TRY_VOID(folder.require("transformer", "diffusers", "FluxTransformer2DModel"));
  TRY(auto config, folder.config<models::FluxTransformerConfig>("transformer"));
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  const std::int64_t scale = loader.latents().pixels_per_latent;
  const bool control = folder.class_name().starts_with("FluxControl");
  std::int64_t fill_channels = 0;
  if (fills || control) fill_channels = kLatentPatch * kLatentPatch * loader.latents().channels;
  if (fills) fill_channels += kLatentPatch * kLatentPatch * scale * scale;
  TRY_VOID(loader.check_latents(config.in_channels, config.out_channels, kLatentPatch, fill_channels));
  TRY(ClipEncoder clip, ClipEncoder::load(loader, "", "CLIPTextModel"));
  TRY(T5TextEncoder t5, T5TextEncoder::load(loader, "_2"));
  TRY_VOID(check_text(folder, config, clip, t5));
  TRY(auto transformer,
      loader.network<models::FluxTransformer>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(
      std::make_unique<Flux>(FluxParts{.transformer = std::move(transformer),
                                       .clip = std::move(clip),
                                       .t5 = std::move(t5),
                                       .kind = fills     ? FluxKind::fills
                                               : kontext ? FluxKind::kontext
                                               : control ? FluxKind::control
                                                         : FluxKind::plain,
                                       .pixels_per_token = static_cast<int>(scale * kLatentPatch)}));
}

}  // namespace diffused::pipelines
