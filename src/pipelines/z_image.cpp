// Follows diffusers 0.42.1, pipelines/z_image/pipeline_z_image.py, with …_img2img.py and …_inpaint.py.
#include "pipelines/z_image.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linspace.h>
#include <fmt/format.h>

#include <algorithm>

#include "models/z_image_transformer.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/latent_request.h"
#include "pipelines/qwen_encoder.h"

namespace diffused::pipelines {
namespace {

// What Diffusers takes when a call names none.
constexpr FamilyDefaults kZImageDefaults{
    .process = samplers::Process::flow, .steps = 50, .guidance_scale = 5.0};
// What Z-Image-Turbo was distilled for. No file says that a folder is that one; its noise levels do.
constexpr FamilyDefaults kTurboDefaults{
    .process = samplers::Process::flow, .steps = 8, .guidance_scale = 0.0};
constexpr double kTurboShift = 3.0;

constexpr int kZImageSequenceLength = 512;  // at most, and when a request names none
constexpr std::int64_t kZImageSideDefault = 128;
constexpr double kZImageTimesteps = 1000;

struct ZImageParts {
  std::shared_ptr<const models::ZImageTransformer> transformer;
  QwenTextEncoder qwen3;
};

class ZImage final : public Family {
 public:
  explicit ZImage(ZImageParts parts) : parts_(std::move(parts)) {
    const models::ZImageTransformerConfig& config = parts_.transformer->config();
    traits_.latent_multiple = config.kPatch;
    traits_.latent_side_max = std::min(config.axes_lens[1], config.axes_lens[2]) * config.kPatch;
    traits_.latent_side_default = kZImageSideDefault;
    traits_.inpaint_strength = 1;
    traits_.masked_picture_draws = true;
    traits_.wide_latents = true;
  }

  const FamilyTraits& traits() const override { return traits_; }
  Result<void> complete(GenerateRequest& request) const override;
  // Other families' scale less one: the positive prompt's result is what is gone on from.
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override {
    if (!(*resolved.guidance_scale > 0)) return std::nullopt;
    return Guidance{.scale = *resolved.guidance_scale,
                    .from = GuidanceFrom::positive,
                    .norm_max = resolved.cfg_normalization.value_or(0),
                    .until = resolved.cfg_truncation.value_or(1)};
  }
  samplers::ScheduleRequest schedule_request(const GenerateRequest& resolved, LatentSize size) const override;
  FamilyWork work(const GenerateRequest& resolved, LatentSize size) const override;
  Result<PromptIds> tokenize(const GenerateRequest& resolved, PromptSide side) const override;
  PromptEmbedding encode(const PromptIds& prompt) const override;
  at::Tensor conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                          const GenerateRequest& resolved) const override;
  at::Tensor predict(const NetworkCall& call) const override;

 private:
  static std::int64_t image_tokens(LatentSize size) {
    constexpr std::int64_t kPatch = models::ZImageTransformerConfig::kPatch;
    return size.height * size.width / (kPatch * kPatch);
  }
  int sequence_length_max() const {
    return static_cast<int>(
        std::min<std::int64_t>(kZImageSequenceLength, parts_.transformer->config().text_tokens_max()));
  }

  ZImageParts parts_;
  FamilyTraits traits_;
};

Result<void> ZImage::complete(GenerateRequest& request) const {
  request.negative_prompt = request.negative_prompt.value_or("");
  request.max_sequence_length = request.max_sequence_length.value_or(sequence_length_max());
  TRY_VOID(check_range(*request.max_sequence_length, 1, sequence_length_max(), "max_sequence_length"));
  // Not the other way round, so that NaN is refused too.
  if (!(request.cfg_normalization.value_or(0) >= 0))
    return wrong_field("cfg_normalization must be 0 or more", "cfg_normalization");
  if (!(request.cfg_truncation.value_or(0) >= 0))
    return wrong_field("cfg_truncation must be 0 or more", "cfg_truncation");
  TRY_VOID(tokenize(request, PromptSide::positive));
  TRY_VOID(tokenize(request, PromptSide::negative));
  return {};
}

samplers::ScheduleRequest ZImage::schedule_request(const GenerateRequest& resolved, LatentSize size) const {
  const int steps = *resolved.num_inference_steps;
  // Rounded at each of its steps, as torch does.
  const at::Tensor sigmas = at::linspace(1.0, 1.0 / steps, steps, at::kFloat);
  const float* const values = sigmas.const_data_ptr<float>();
  return {.steps = steps,
          .image_tokens = static_cast<int>(image_tokens(size)),
          .sigmas = {values, values + steps}};
}

FamilyWork ZImage::work(const GenerateRequest& resolved, LatentSize size) const {
  const models::ZImageTransformerConfig& transformer = parts_.transformer->config();
  FamilyWork work;
  std::vector<PromptSide> sides = {PromptSide::positive};
  if (guidance(resolved)) sides.push_back(PromptSide::negative);
  for (const PromptSide side : sides) {
    const auto tokens = static_cast<std::int64_t>(tokenize(resolved, side).value().texts[0].ids.size());
    const auto share = static_cast<double>(sides.size());
    work.encode_flops += (parts_.qwen3.config().flops(tokens) + transformer.context_flops(tokens)) / share;
    work.network_flops += transformer.flops(image_tokens(size), tokens) / share;
    constexpr int kLengths = 256;  // more than there are
    work.tokens_key = work.tokens_key * kLengths +
                      static_cast<int>(transformer.padded(tokens) / transformer.kTokenMultiple);
  }
  return work;
}

Result<PromptIds> ZImage::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  PromptIds prompts;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
  TRY(auto text, parts_.qwen3.tokenize(prompt, is_weighted(resolved), prompts.max_sequence_length));
  prompts.texts = {std::move(text)};
  prompts.common = !positive && prompt.empty() && !is_weighted(resolved);
  return prompts;
}

PromptEmbedding ZImage::encode(const PromptIds& prompt) const {
  return {.context = parts_.transformer->embed_context(parts_.qwen3.encode(prompt.texts[0])),
          .repeats = {},
          .pooled = {}};
}

at::Tensor ZImage::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                                const GenerateRequest&) const {
  // The network's time goes the other way.
  const at::Tensor modulations =
      parts_.transformer->modulations((kZImageTimesteps - timesteps) / kZImageTimesteps);
  return prompts.negative ? at::cat({modulations, modulations}) : modulations;
}

at::Tensor ZImage::predict(const NetworkCall& call) const {
  const at::Tensor context = call.contexts();  // [B, T, D]
  const at::Tensor velocity =
      parts_.transformer->forward(call.latents.to(context.scalar_type()), context, call.conditioning);
  return -velocity.to(at::kFloat);
}

std::vector<std::int64_t> last_but_one(std::int64_t layers) { return {layers - 1}; }

// Whether the folder is Z-Image-Turbo's: the network of Z-Image with other noise levels.
Result<bool> is_turbo(const ModelFolder& folder, const models::ZImageTransformerConfig& config) {
  TRY(const boost::json::object scheduler, folder.json("scheduler/scheduler_config.json"));
  const boost::json::value* const shift = scheduler.if_contains("shift");
  const models::ZImageTransformerConfig published{.block_format = config.block_format};
  return config == published && shift != nullptr && shift->is_number() &&
         shift->to_number<double>() == kTurboShift;
}

}  // namespace

Result<LatentModel> load_z_image(const ModelFolder& folder, const LoadOptions& options) {
  TRY_VOID(folder.require("transformer", "diffusers", "ZImageTransformer2DModel"));
  TRY(auto config, folder.config<models::ZImageTransformerConfig>("transformer"));
  TRY(const bool turbo, is_turbo(folder, config));
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, turbo ? kTurboDefaults : kZImageDefaults));
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  TRY_VOID(loader.check_latents(config.in_channels, config.in_channels));
  TRY(QwenTextEncoder qwen3, QwenTextEncoder::load_qwen3(loader, {.taps = last_but_one, .thinking = true}));
  if (qwen3.config().hidden_size != config.cap_feat_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("cap_feat_dim is {}, but text_encoder gives {} values",
                                     config.cap_feat_dim, qwen3.config().hidden_size));
  }
  TRY(auto transformer,
      loader.network<models::ZImageTransformer>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(std::make_unique<ZImage>(
      ZImageParts{.transformer = std::move(transformer), .qwen3 = std::move(qwen3)}));
}

}  // namespace diffused::pipelines
