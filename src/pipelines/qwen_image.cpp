// Follows diffusers 0.42.1, pipelines/qwenimage/pipeline_qwenimage.py, with …_img2img.py and …_inpaint.py.
// What differs: guidance_scale, which Diffusers ignores, is what true_cfg_scale is where a request has none.
#include "pipelines/qwen_image.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <cmath>

#include "models/qwen_image_transformer.h"
#include "pipelines/family.h"
#include "pipelines/latent_loader.h"
#include "pipelines/latent_request.h"
#include "pipelines/packed_latents.h"
#include "pipelines/qwen_encoder.h"

namespace diffused::pipelines {
namespace {

// What Diffusers takes when a call names none; the scale is that of true_cfg_scale.
constexpr FamilyDefaults kQwenImageDefaults{
    .process = samplers::Process::flow, .steps = 50, .guidance_scale = 4.0};
constexpr int kQwenImageSequenceDefault = 512;
constexpr int kQwenImageSequenceMax = 1024;
constexpr std::int64_t kQwenImageSideDefault = 128;
constexpr std::int64_t kQwenImageSideMax = 512;
constexpr double kQwenImageTimesteps = 1000;  // the network is told timesteps in thousandths

// What the encoder is told before and after a prompt. The tokens of the first sentence do not count.
PromptWords qwen_image_words() {
  return {.before =
              "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
              "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
              "<|im_start|>user\n",
          .after = "<|im_end|>\n<|im_start|>assistant\n",
          .tokens_dropped = 34};
}

struct QwenImageParts {
  std::shared_ptr<const models::QwenImageTransformer> transformer;
  QwenTextEncoder qwen;
};

class QwenImage final : public Family {
 public:
  explicit QwenImage(QwenImageParts parts) : parts_(std::move(parts)) {
    traits_.latent_multiple = kLatentPatch;
    traits_.latent_side_max = kQwenImageSideMax;
    traits_.latent_side_default = kQwenImageSideDefault;
    traits_.masked_picture_draws = true;
  }

  const FamilyTraits& traits() const override { return traits_; }
  Result<void> complete(GenerateRequest& request) const override;
  // Only with a negative prompt, which may be empty but must be there.
  std::optional<Guidance> guidance(const GenerateRequest& resolved) const override {
    if (!(*resolved.true_cfg_scale > 1) || !resolved.negative_prompt) return std::nullopt;
    return Guidance{.scale = *resolved.true_cfg_scale, .keeps_norm = true};
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
  at::Tensor predict(const NetworkCall& call) const override {
    return parts_.transformer->forward(call.tokens(), packed_grids(call), call.contexts(), call.conditioning);
  }
  at::Tensor pack(const at::Tensor& latents) const override { return packed(latents); }
  at::Tensor unpack(const at::Tensor& latents, LatentSize size) const override {
    return unpacked(latents, size);
  }

 private:
  QwenImageParts parts_;
  FamilyTraits traits_;
};

Result<void> QwenImage::complete(GenerateRequest& request) const {
  request.max_sequence_length = request.max_sequence_length.value_or(kQwenImageSequenceDefault);
  TRY_VOID(check_range(*request.max_sequence_length, 1, kQwenImageSequenceMax, "max_sequence_length"));
  request.true_cfg_scale = request.true_cfg_scale.value_or(*request.guidance_scale);
  if (!std::isfinite(*request.true_cfg_scale))
    return wrong_field("true_cfg_scale must be a number", "true_cfg_scale");
  TRY_VOID(tokenize(request, PromptSide::positive));
  if (request.negative_prompt) TRY_VOID(tokenize(request, PromptSide::negative));
  return {};
}

FamilyWork QwenImage::work(const GenerateRequest& resolved, LatentSize size) const {
  FamilyWork work;
  std::vector<PromptSide> sides = {PromptSide::positive};
  if (guidance(resolved)) sides.push_back(PromptSide::negative);
  for (const PromptSide side : sides) {
    const EncoderText text = tokenize(resolved, side).value().texts[0];
    const std::int64_t tokens = parts_.qwen.states(text);
    const auto share = static_cast<double>(sides.size());
    work.encode_flops += parts_.qwen.config().flops(std::ssize(text.ids)) / share;
    work.network_flops += parts_.transformer->config().flops(packed_tokens(size), tokens) / share;
    // Texts of about one length come together, though each length has a call of its own.
    constexpr int kLengths = kQwenImageSequenceMax / 32 + 1;
    work.tokens_key = work.tokens_key * kLengths + static_cast<int>(tokens / 32);
  }
  return work;
}

Result<PromptIds> QwenImage::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
  PromptIds prompts;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  TRY(auto text, parts_.qwen.tokenize(prompt, is_weighted(resolved), prompts.max_sequence_length));
  prompts.texts = {std::move(text)};
  prompts.common = !positive && prompt.empty() && !is_weighted(resolved);
  return prompts;
}

PromptEmbedding QwenImage::encode(const PromptIds& prompt) const {
  return {.context = parts_.transformer->embed_context(parts_.qwen.encode(prompt.texts[0])),
          .repeats = {},
          .pooled = {}};
}

at::Tensor QwenImage::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                                   const GenerateRequest&) const {
  // Rounded to the dtype before the division and after, as Diffusers does.
  const at::Tensor told = timesteps.to(prompts.positive->context.scalar_type()) / kQwenImageTimesteps;
  const at::Tensor modulations = parts_.transformer->modulations(told);
  return prompts.negative ? at::cat({modulations, modulations}) : modulations;
}

}  // namespace

Result<LatentModel> load_qwen_image(const ModelFolder& folder, const LoadOptions& options) {
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, kQwenImageDefaults));
  TRY_VOID(folder.require("transformer", "diffusers", "QwenImageTransformer2DModel"));
  TRY(auto config, folder.config<models::QwenImageTransformerConfig>("transformer"));
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  TRY_VOID(loader.check_latents(config.in_channels, config.kPatch * config.kPatch * config.out_channels,
                                kLatentPatch));
  TRY(QwenTextEncoder qwen, QwenTextEncoder::load_qwen2_5_vl(loader, qwen_image_words()));
  if (qwen.config().hidden_size != config.joint_attention_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("joint_attention_dim is {}, but text_encoder gives {} values",
                                     config.joint_attention_dim, qwen.config().hidden_size));
  }
  TRY(auto transformer,
      loader.network<models::QwenImageTransformer>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(std::make_unique<QwenImage>(
      QwenImageParts{.transformer = std::move(transformer), .qwen = std::move(qwen)}));
}

}  // namespace diffused::pipelines
