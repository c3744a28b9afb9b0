// Follows diffusers 0.42.1, pipelines/flux2/pipeline_flux2_klein.py, with …_klein_inpaint.py. Not here: the
// checkpoint that keeps its references' keys (Flux2KleinKVPipeline).
#include "pipelines/flux2_klein.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/flux2_transformer.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/latent_request.h"
#include "pipelines/qwen_encoder.h"
#include "samplers/sigma_spacing.h"

namespace diffused::pipelines {
namespace {

// What Diffusers takes when a call names none.
constexpr FamilyDefaults kKleinDefaults{
    .process = samplers::Process::flow, .steps = 50, .guidance_scale = 4.0};
// What the distilled ones were made for; they are never guided.
constexpr FamilyDefaults kDistilledDefaults{
    .process = samplers::Process::flow, .steps = 4, .guidance_scale = 1.0};

constexpr int kKleinSequenceLength = 512;  // at most, and when a request names none
constexpr std::int64_t kKleinSideDefault = 64;
constexpr std::int64_t kKleinSideMax = 256;
constexpr double kKleinTimesteps = 1000;  // the network is told timesteps in thousandths

// With a mask.
constexpr double kInpaintStrength = 0.8, kInpaintGuidanceScale = 8.0;

constexpr int kReferencesMax = 4;
constexpr int kReferenceSideMin = 64;
constexpr double kReferenceAspectMax = 8;
constexpr double kReferencePixelsMax = 1024 * 1024;
constexpr std::int64_t kReferenceSpacing = 10;  // of pictures along the first axis

// How much the noise levels are shifted: between two lines by the number of tokens, one for 10 steps and one
// for 200; for large pictures by the latter alone.
double empirical_mu(double tokens, int steps) {
  const double mu_10 = 8.73809524e-05 * tokens + 1.89833333, mu_200 = 0.00016927 * tokens + 0.45666666;
  if (tokens > 4300) return mu_200;
  const double slope = (mu_200 - mu_10) / 190.0;
  return slope * steps + (mu_200 - 200.0 * slope);
}

struct KleinParts {
  std::shared_ptr<const models::Flux2Transformer> transformer;
  QwenTextEncoder qwen3;
  int pixels_per_latent = 1;
  bool distilled = false;
};

class Flux2Klein final : public Family {
 public:
  explicit Flux2Klein(KleinParts parts) : parts_(std::move(parts)) {
    traits_.latent_side_max = kKleinSideMax;
    traits_.latent_side_default = kKleinSideDefault;
    traits_.references_max = kReferencesMax;
    traits_.sized = FamilyTraits::Sized::first_reference;
    traits_.starts_without_mask = false;
    traits_.source_reference = SourceReference::first;
    traits_.source_is_mean = traits_.mask_is_soft = true;
    traits_.inpaint_strength = kInpaintStrength;
    if (!parts_.distilled) traits_.inpaint_guidance_scale = kInpaintGuidanceScale;
  }

  const FamilyTraits& traits() const override { return traits_; }
  Result<void> complete(GenerateRequest& request) const override;
  // The negative prompt is always the empty one.
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override {
    return parts_.distilled ? std::nullopt : Family::guidance(resolved);
  }
  samplers::ScheduleRequest schedule_request(const GenerateRequest& resolved, LatentSize size) const override;
  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override;
  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override;
  PromptEmbedding encode(const PromptIds& prompt) const override;
  at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                          const GenerateRequest& resolved) const override;
  Result<ReferenceFit> reference_fit(int width, int height) const override;
  at::Tensor predict(const NetworkCall& call) const override;
  at::Tensor pack(const at::Tensor& latents) const override {
    return latents.flatten(2).transpose(1, 2).contiguous();  // [1, h * w, C]
  }
  at::Tensor unpack(const at::Tensor& latents, LatentSize size) const override {
    return latents.transpose(1, 2).unflatten(2, {size.height, size.width}).contiguous();  // [1, C, h, w]
  }

 private:
  KleinParts parts_;
  FamilyTraits traits_;
};

Result<void> Flux2Klein::complete(GenerateRequest& request) const {
  request.max_sequence_length = request.max_sequence_length.value_or(kKleinSequenceLength);
  TRY_VOID(check_range(*request.max_sequence_length, 1, kKleinSequenceLength, "max_sequence_length"));
  TRY_VOID(tokenize(request, PromptSide::positive));
  return {};
}

samplers::ScheduleRequest Flux2Klein::schedule_request(const GenerateRequest& resolved,
                                                       LatentSize size) const {
  const int steps = *resolved.num_inference_steps;
  const std::int64_t tokens = size.height * size.width;
  return {.steps = steps,
          .image_tokens = static_cast<int>(tokens),
          .sigmas = samplers::linspace(1.0, 1.0 / steps, static_cast<std::size_t>(steps)),
          .shift = {},
          .mu = empirical_mu(static_cast<double>(tokens), steps)};
}

FamilyWork Flux2Klein::work(const GenerateRequest& resolved, LatentSize size) const {
  const int text_tokens = *resolved.max_sequence_length;
  const std::int64_t image_tokens =
      size.height * size.width + reference_tokens(resolved, parts_.pixels_per_latent);
  return {.encode_flops = parts_.qwen3.config().flops(text_tokens),
          .network_flops = parts_.transformer->config().flops(image_tokens, text_tokens),
          .tokens_key = text_tokens};
}

Result<PromptIds> Flux2Klein::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  PromptIds prompts;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  TRY(auto text, parts_.qwen3.tokenize(positive ? resolved.prompt : "", positive && is_weighted(resolved),
                                       prompts.max_sequence_length));
  prompts.texts = {std::move(text)};
  prompts.common = !positive && prompts.max_sequence_length == kKleinSequenceLength;
  return prompts;
}

PromptEmbedding Flux2Klein::encode(const PromptIds& prompt) const {
  return {.context = parts_.transformer->embed_context(
              parts_.qwen3.encode(prompt.texts[0], prompt.max_sequence_length)),
          .repeats = {},
          .pooled = {}};
}

at::Tensor Flux2Klein::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                                    const GenerateRequest&) const {
  // Rounded to the dtype before the division and after, as Diffusers does.
  const at::Tensor told = timesteps.to(prompts.positive->context.scalar_type()) / kKleinTimesteps;
  const at::Tensor modulations = parts_.transformer->modulations(told, {});
  return prompts.negative ? at::cat({modulations, modulations}) : modulations;
}

Result<ReferenceFit> Flux2Klein::reference_fit(int width, int height) const {
  if (std::min(width, height) < kReferenceSideMin) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a reference picture must have {} pixels a side or more, not {}x{}",
                            kReferenceSideMin, width, height));
  }
  const double aspect = static_cast<double>(std::max(width, height)) / std::min(width, height);
  if (aspect > kReferenceAspectMax) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a reference picture may be {} times as long as wide, not {}x{}",
                            kReferenceAspectMax, width, height));
  }
  ReferenceFit fit{.resized_width = width, .resized_height = height};
  const double pixels = static_cast<double>(width) * height;
  if (pixels > kReferencePixelsMax) {
    const double scale = std::sqrt(kReferencePixelsMax / pixels);
    fit.resized_width = static_cast<int>(width * scale);
    fit.resized_height = static_cast<int>(height * scale);
  }
  const int multiple = parts_.pixels_per_latent;
  fit.width = fit.resized_width / multiple * multiple;
  fit.height = fit.resized_height / multiple * multiple;
  return fit;
}

at::Tensor Flux2Klein::predict(const NetworkCall& call) const {
  std::vector<models::TokenGrid> grids = {{.rows = call.size.height, .columns = call.size.width}};
  for (const LatentSize& size : call.reference_sizes) {
    grids.push_back({.rows = size.height,
                     .columns = size.width,
                     .picture = kReferenceSpacing * static_cast<std::int64_t>(grids.size())});
  }
  return parts_.transformer->forward(call.tokens(), grids, call.contexts(), call.conditioning);
}

// Whose states klein goes by, of however many layers there are.
std::vector<std::int64_t> klein_taps(std::int64_t) { return {9, 18, 27}; }

}  // namespace

Result<LatentModel> load_flux2_klein(const ModelFolder& folder, const LoadOptions& options) {
  TRY(const bool distilled, folder.option("is_distilled", false));
  TRY(LatentLoader loader,
      LatentLoader::begin(folder, options, distilled ? kDistilledDefaults : kKleinDefaults));
  TRY_VOID(folder.require("transformer", "diffusers", "Flux2Transformer2DModel"));
  TRY(auto config, folder.config<models::Flux2TransformerConfig>("transformer"));
  if (config.guidance_embeds) {
    return folder.refuse(ErrorCode::unsupported, "transformer/config.json",
                         "guidance_embeds must be false: klein is told no guidance scale");
  }
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  TRY_VOID(loader.check_latents(config.in_channels, config.out_channels));
  TRY(QwenTextEncoder qwen3, QwenTextEncoder::load_qwen3(loader, {.taps = klein_taps, .thinking = false}));
  if (qwen3.config().state_size() != config.joint_attention_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("joint_attention_dim is {}, but text_encoder gives {} values",
                                     config.joint_attention_dim, qwen3.config().state_size()));
  }
  TRY(auto transformer,
      loader.network<models::Flux2Transformer>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(std::make_unique<Flux2Klein>(
      KleinParts{.transformer = std::move(transformer),
                 .qwen3 = std::move(qwen3),
                 .pixels_per_latent = static_cast<int>(loader.latents().pixels_per_latent),
                 .distilled = distilled}));
}

}  // namespace diffused::pipelines
