// Follows diffusers 0.42.1, pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py.
#include "pipelines/sd3.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "models/mmdit.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/latent_request.h"
#include "pipelines/text_encoders.h"

namespace diffused::pipelines {
namespace {

// What Diffusers takes when a call names none.
constexpr FamilyDefaults kSd3Defaults{.process = samplers::Process::flow,
                                      .steps = 28,
                                      .guidance_scale = 7.0,
                                      .tokens_of_several_vectors = false};
constexpr int kSd3SequenceLengthDefault = 256;

constexpr int kSd3SequenceLengthMin = 2;  // a token and the end
constexpr int kSd3SequenceLengthMax = 512;
constexpr int kSd3SequenceLengthKeys = 1024;  // more than there are lengths

// Of skip-layer guidance: Diffusers' defaults, which are those of Stable Diffusion 3.5 medium.
constexpr double kSkipScale = 2.8, kSkipStart = 0.01, kSkipStop = 0.2;

// Fills in what a request that leaves blocks out does not say, and checks what it says.
Result<void> complete_skipping(GenerateRequest& request, int blocks) {
  if (request.skip_guidance_layers.empty()) return {};
  request.skip_layer_guidance_scale = request.skip_layer_guidance_scale.value_or(kSkipScale);
  request.skip_layer_guidance_start = request.skip_layer_guidance_start.value_or(kSkipStart);
  request.skip_layer_guidance_stop = request.skip_layer_guidance_stop.value_or(kSkipStop);
  for (const int layer : request.skip_guidance_layers)
    TRY_VOID(check_range(layer, 0, blocks - 1, "skip_guidance_layers"));
  TRY_VOID(check_share(request.skip_layer_guidance_start, "skip_layer_guidance_start"));
  TRY_VOID(check_share(request.skip_layer_guidance_stop, "skip_layer_guidance_stop"));
  if (std::isfinite(*request.skip_layer_guidance_scale)) return {};
  return wrong_field("skip_layer_guidance_scale must be a number", "skip_layer_guidance_scale");
}

struct Sd3Parts {
  std::shared_ptr<const models::Mmdit> transformer;
  ClipEncoder clip, clip_2;
  std::optional<T5TextEncoder> t5;
};

class Sd3 final : public Family {
 public:
  explicit Sd3(Sd3Parts parts) : parts_(std::move(parts)) {
    const models::MmditConfig& config = parts_.transformer->config();
    traits_.latent_multiple = config.patch_size;
    traits_.latent_side_max = config.latent_side_max();
    traits_.latent_side_default = config.sample_size;
    traits_.clip_skip_max = std::min(parts_.clip.clip_skip_max(), parts_.clip_2.clip_skip_max());
  }

  const FamilyTraits& traits() const override { return traits_; }
  Result<void> complete(GenerateRequest& request) const override;
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override;
  samplers::ScheduleRequest schedule_request(const GenerateRequest& resolved,
                                             LatentSize size) const override {
    return {.steps = *resolved.num_inference_steps,
            .image_tokens = static_cast<int>(image_tokens(size)),
            .sigmas = {}};
  }
  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override;
  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override;
  PromptEmbedding encode(const PromptIds& prompt) const override;
  at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                          const GenerateRequest& resolved) const override;
  at::Tensor predict(const NetworkCall& call) const override;

 private:
  Result<int> chunks(const GenerateRequest& request) const;
  std::int64_t image_tokens(LatentSize size) const {
    const std::int64_t patch = parts_.transformer->config().patch_size;
    return size.height * size.width / (patch * patch);
  }

  Sd3Parts parts_;
  FamilyTraits traits_;
};

Result<void> Sd3::complete(GenerateRequest& request) const {
  or_first(request.prompt_2, request.prompt);
  or_first(request.prompt_3, request.prompt);
  request.negative_prompt = request.negative_prompt.value_or("");
  or_first(request.negative_prompt_2, *request.negative_prompt);
  or_first(request.negative_prompt_3, *request.negative_prompt);
  request.max_sequence_length = request.max_sequence_length.value_or(kSd3SequenceLengthDefault);
  TRY_VOID(complete_skipping(request, static_cast<int>(parts_.transformer->config().num_layers)));
  TRY_VOID(chunks(request));
  return check_range(*request.max_sequence_length, kSd3SequenceLengthMin, kSd3SequenceLengthMax,
                     "max_sequence_length");
}

std::optional<Guidance> Sd3::guidance(const GenerateRequest& resolved) const {
  auto guidance = Family::guidance(resolved);
  if (!guidance || resolved.skip_guidance_layers.empty()) return guidance;
  guidance->skip_layers.assign(resolved.skip_guidance_layers.begin(), resolved.skip_guidance_layers.end());
  guidance->skip_scale = *resolved.skip_layer_guidance_scale;
  guidance->skip_start = *resolved.skip_layer_guidance_start;
  guidance->skip_stop = *resolved.skip_layer_guidance_stop;
  return guidance;
}

FamilyWork Sd3::work(const GenerateRequest& resolved, LatentSize size) const {
  const int t5_length = *resolved.max_sequence_length, clip_length = parts_.clip.length();
  // Without T5, zeros stand in its place: one token, see encode().
  const int count = chunks(resolved).value();
  const std::int64_t text_tokens = clip_length * count + (parts_.t5 ? t5_length : 1);
  const double clip_flops =
      count * (parts_.clip.config().flops(clip_length) + parts_.clip_2.config().flops(clip_length));
  return {.encode_flops = clip_flops + (parts_.t5 ? parts_.t5->config().flops(t5_length) : 0),
          .network_flops = parts_.transformer->config().flops(image_tokens(size), text_tokens),
          .tokens_key = t5_length + (count - 1) * kSd3SequenceLengthKeys};
}

Result<PromptIds> Sd3::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
  const std::string& prompt_2 = positive ? *resolved.prompt_2 : *resolved.negative_prompt_2;
  const std::string& prompt_3 = positive ? *resolved.prompt_3 : *resolved.negative_prompt_3;
  const int length = parts_.clip.length();  // of both
  const bool weighted = is_weighted(resolved);
  PromptIds prompts;
  TRY(prompts.chunks, chunks(resolved));
  TRY(auto text, parts_.clip.tokenize(prompt, weighted, length, prompts.chunks));
  TRY(auto text_2, parts_.clip_2.tokenize(prompt_2, weighted, length, prompts.chunks));
  prompts.texts = {std::move(text), std::move(text_2)};
  if (parts_.t5) {
    TRY(auto text_3, parts_.t5->tokenize(prompt_3, weighted, *resolved.max_sequence_length));
    prompts.texts.push_back(std::move(text_3));
  }
  // clip_skip is for the positive prompt alone, as in Diffusers.
  prompts.clip_skip = positive || weighted ? *resolved.clip_skip : 0;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  prompts.common = !positive && !weighted && prompt.empty() && prompt_2.empty() && prompt_3.empty() &&
                   *resolved.max_sequence_length == kSd3SequenceLengthDefault;
  return prompts;
}

Result<int> Sd3::chunks(const GenerateRequest& request) const {
  const ClipEncoder &clip = parts_.clip, &clip_2 = parts_.clip_2;
  std::vector<ClipTextUse> texts = {{clip, request.prompt}, {clip_2, *request.prompt_2}};
  if (guidance(request)) {
    texts.push_back({clip, *request.negative_prompt});
    texts.push_back({clip_2, *request.negative_prompt_2});
  }
  return count_chunks(request, clip.length(), texts);
}

PromptEmbedding Sd3::encode(const PromptIds& prompt) const {
  constexpr ClipState kState = ClipState::penultimate;
  const auto clip = parts_.clip.embed(prompt.texts[0], prompt.chunks, kState, prompt.clip_skip);
  const auto clip_2 = parts_.clip_2.embed(prompt.texts[1], prompt.chunks, kState, prompt.clip_skip);
  const std::int64_t width = parts_.transformer->config().joint_attention_dim;
  at::Tensor tokens = at::cat({clip.tokens, clip_2.tokens}, -1);
  // The joint width is T5's; a negative amount crops, which tiny models need.
  tokens = at::constant_pad_nd(tokens, {0, width - tokens.size(-1)});  // [1, 77 · chunks, J]
  PromptEmbedding embedding;
  if (parts_.t5) {
    tokens = at::cat({tokens, parts_.t5->encode(prompt.texts[2])}, 1);  // [1, 77 · chunks + L, J]
  } else {
    // Without T5, L zero tokens stand in its place; the denoiser takes them as one token that counts L times.
    tokens = at::cat({tokens, at::zeros({1, 1, width}, tokens.options())}, 1);  // [1, 77 · chunks + 1, J]
    embedding.repeats = at::ones({tokens.size(1)}, tokens.options().dtype(at::kFloat));
    embedding.repeats[-1] = prompt.max_sequence_length;
  }
  embedding.context = parts_.transformer->embed_context(tokens);
  embedding.pooled = at::cat({clip.pooled, clip_2.pooled}, -1);  // [1, P]
  return embedding;
}

at::Tensor Sd3::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                             const GenerateRequest&) const {
  std::vector<at::Tensor> all_timesteps, pooled;
  for (const PromptEmbedding* const prompt : {prompts.negative, prompts.positive}) {
    if (!prompt) continue;
    all_timesteps.push_back(timesteps);
    pooled.push_back(prompt->pooled.expand({timesteps.size(0), -1}));
  }
  return parts_.transformer->modulations(at::cat(all_timesteps), at::cat(pooled));
}

at::Tensor Sd3::predict(const NetworkCall& call) const {
  std::vector<at::Tensor> tokens;
  for (const PromptEmbedding* const prompt : call.prompts) tokens.push_back(prompt->context);
  const models::MmditContext context{.tokens = at::cat(tokens), .repeats = call.prompts.front()->repeats};
  return parts_.transformer->forward(call.latents, context, call.conditioning, call.skip_layers);
}

// Whether denoiser and text encoders speak of the same texts.
Result<void> check_text(const ModelFolder& folder, const models::MmditConfig& transformer,
                        const ClipEncoder& clip, const ClipEncoder& clip_2) {
  const std::int64_t pooled = clip.config().projection_dim, pooled_2 = clip_2.config().projection_dim;
  if (pooled + pooled_2 != transformer.pooled_projection_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("pooled_projection_dim is {}, but the text encoders project to {} + {}",
                                     transformer.pooled_projection_dim, pooled, pooled_2));
  }
  if (clip.length() > clip_2.config().max_position_embeddings) {
    return folder.refuse(
        ErrorCode::data_loss, "tokenizer/tokenizer_config.json",
        fmt::format("model_max_length {} is more than text_encoder_2's positions", clip.length()));
  }
  return {};
}

// Nothing when model_index.json gives T5 as null or its folder is missing.
Result<std::optional<T5TextEncoder>> load_t5(LatentLoader& loader, const models::MmditConfig& transformer) {
  const ModelFolder& folder = loader.folder();
  if (!folder.has("text_encoder_3")) return std::nullopt;
  TRY(T5TextEncoder t5, T5TextEncoder::load(loader, "_3"));
  if (t5.config().d_model != transformer.joint_attention_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("joint_attention_dim is {}, but text_encoder_3 has d_model {}",
                                     transformer.joint_attention_dim, t5.config().d_model));
  }
  return std::optional<T5TextEncoder>(std::move(t5));
}

}  // namespace

Result<LatentModel> load_sd3(const ModelFolder& folder, const LoadOptions& options) {
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, kSd3Defaults));
  TRY_VOID(folder.require("transformer", "diffusers", "SD3Transformer2DModel"));
  TRY(auto config, folder.config<models::MmditConfig>("transformer"));
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  TRY_VOID(loader.check_latents(config.in_channels, config.out_channels));
  constexpr const char* kClipClass = "CLIPTextModelWithProjection";
  TRY(ClipEncoder clip, ClipEncoder::load(loader, "", kClipClass));
  TRY(ClipEncoder clip_2, ClipEncoder::load(loader, "_2", kClipClass));
  TRY_VOID(check_text(folder, config, clip, clip_2));
  TRY(auto t5, load_t5(loader, config));
  TRY(auto transformer, loader.network<models::Mmdit>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(std::make_unique<Sd3>(Sd3Parts{.transformer = std::move(transformer),
                                                      .clip = std::move(clip),
                                                      .clip_2 = std::move(clip_2),
                                                      .t5 = std::move(t5)}));
}

}  // namespace diffused::pipelines
