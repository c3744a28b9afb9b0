// Follows diffusers 0.42.1, pipelines/qwenimage/pipeline_qwenimage.py, with …_img2img.py, …_inpaint.py,
// …_edit.py and …_edit_plus.py. What differs: guidance_scale, which Diffusers ignores, is what true_cfg_scale
// is where a request has none; the text of an edit is cut off somewhere.
#include "pipelines/qwen_image.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <algorithm>
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

constexpr int kEditTokensMax = 3072;  // those of its pictures with them; Diffusers fails beyond about 4000
constexpr int kEditReferencesMax = 3;
constexpr double kEditArea = 1024.0 * 1024;  // of a picture to go by, in pixels
constexpr double kGlanceArea = 384.0 * 384;  // as the text encoder sees several
constexpr int kEditSideMin = 16;
constexpr int kEditProportionMax = 200;
constexpr std::string_view kShownPicture = "<|vision_start|><|image_pad|><|vision_end|>";

enum class QwenImageKind {
  plain,
  edits,            // goes by one picture
  edits_by_several  // by some, which the prompt can name
};

// What the encoder is told before and after a prompt. The tokens of the first sentence do not count.
PromptWords qwen_image_words() {
  return {.before =
              "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
              "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
              "<|im_start|>user\n",
          .after = "<|im_end|>\n<|im_start|>assistant\n",
          .tokens_dropped = 34};
}

PromptWords qwen_edit_words() {
  return {
      .before =
          "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, "
          "objects, background), then explain how the user's text instruction should alter or modify the "
          "image. Generate a new image that meets the user's requirements while maintaining consistency "
          "with the original input where appropriate.<|im_end|>\n<|im_start|>user\n",
      .after = "<|im_end|>\n<|im_start|>assistant\n",
      .tokens_dropped = 64};
}

struct QwenImageParts {
  std::shared_ptr<const models::QwenImageTransformer> transformer;
  QwenTextEncoder qwen;
  QwenImageKind kind = QwenImageKind::plain;
  int pixels_per_latent = 1;
};

class QwenImage final : public Family {
 public:
  explicit QwenImage(QwenImageParts parts) : parts_(std::move(parts)) {
    traits_.latent_multiple = kLatentPatch;
    traits_.latent_side_max = kQwenImageSideMax;
    traits_.latent_side_default = kQwenImageSideDefault;
    traits_.masked_picture_draws = true;
    if (parts_.kind == QwenImageKind::plain) return;
    traits_.edits = false;
    traits_.references_least = 1;
    traits_.references_max = parts_.kind == QwenImageKind::edits ? 1 : kEditReferencesMax;
    traits_.sized = FamilyTraits::Sized::last_reference;
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
  Result<ReferenceFit> reference_fit(int width, int height) const override;
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
  const auto check_prompt = [&](PromptSide side, const char* field) -> Result<void> {
    const auto tokens = tokenize(request, side);
    if (tokens) return {};
    const bool wrong = tokens.error().code == ErrorCode::invalid_argument;
    return wrong ? wrong_field(tokens.error().message, field) : tl::unexpected<Error>(tokens.error());
  };
  TRY_VOID(check_prompt(PromptSide::positive, "prompt"));
  if (request.negative_prompt) TRY_VOID(check_prompt(PromptSide::negative, "negative_prompt"));
  return {};
}

FamilyWork QwenImage::work(const GenerateRequest& resolved, LatentSize size) const {
  FamilyWork work;
  const auto pixels_per_token = static_cast<int>(parts_.pixels_per_latent * kLatentPatch);
  const std::int64_t image_tokens = packed_tokens(size) + reference_tokens(resolved, pixels_per_token);
  for (const auto& reference : resolved.references)
    work.encode_flops += parts_.qwen.sight()->flops(*reference);
  std::vector<PromptSide> sides = {PromptSide::positive};
  if (guidance(resolved)) sides.push_back(PromptSide::negative);
  for (const PromptSide side : sides) {
    const EncoderText text = tokenize(resolved, side).value().texts[0];
    const std::int64_t tokens = parts_.qwen.states(text);
    const auto share = static_cast<double>(sides.size());
    work.encode_flops += parts_.qwen.config().flops(std::ssize(text.ids)) / share;
    work.network_flops += parts_.transformer->config().flops(image_tokens, tokens) / share;
    // Texts of about one length come together, though each length has a call of its own.
    constexpr int kLengths = kEditTokensMax / 32 + 1;
    work.tokens_key = work.tokens_key * kLengths + static_cast<int>(tokens / 32);
  }
  return work;
}

Result<PromptIds> QwenImage::tokenize(const GenerateRequest& resolved, PromptSide side) const {
  const bool positive = side == PromptSide::positive;
  const std::string& prompt = positive ? resolved.prompt : *resolved.negative_prompt;
  PromptIds prompts;
  prompts.max_sequence_length = *resolved.max_sequence_length;
  const bool plain = parts_.kind == QwenImageKind::plain;
  const int length = plain ? prompts.max_sequence_length : kEditTokensMax;
  std::string shown;
  for (std::size_t i = 0; !plain && i < resolved.references.size(); ++i) {
    if (parts_.kind == QwenImageKind::edits_by_several) shown += fmt::format("Picture {}: ", i + 1);
    shown += kShownPicture;
  }
  TRY(auto text, parts_.qwen.tokenize(prompt, is_weighted(resolved), length, shown));
  if (!plain) {
    TRY(text, parts_.qwen.expanded(text, resolved.references, length));
    prompts.pictures = resolved.references;
  }
  prompts.texts = {std::move(text)};
  prompts.common = plain && !positive && prompt.empty() && !is_weighted(resolved);
  return prompts;
}

PromptEmbedding QwenImage::encode(const PromptIds& prompt) const {
  return {.context = parts_.transformer->embed_context(parts_.qwen.encode(prompt.texts[0], prompt.pictures)),
          .repeats = {},
          .pooled = {},
          .pictures = prompt.pictures};
}

Result<ReferenceFit> QwenImage::reference_fit(int width, int height) const {
  const int shorter = std::min(width, height), longer = std::max(width, height);
  if (shorter < kEditSideMin) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a reference picture must have {} pixels a side or more, not {}x{}", kEditSideMin,
                            width, height));
  }
  if (longer > kEditProportionMax * shorter) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a reference picture may be {} times as long as wide, not {}x{}",
                            kEditProportionMax, width, height));
  }
  const PictureSize size = sized_to_area(kEditArea, {.width = width, .height = height});
  return ReferenceFit{
      .resized_width = size.width, .resized_height = size.height, .width = size.width, .height = size.height};
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
  const QwenImageKind kind = folder.class_name() == "QwenImageEditPipeline" ? QwenImageKind::edits
                             : folder.class_name() == "QwenImageEditPlusPipeline"
                                 ? QwenImageKind::edits_by_several
                                 : QwenImageKind::plain;
  TRY(LatentLoader loader, LatentLoader::begin(folder, options, kQwenImageDefaults));
  TRY_VOID(folder.require("transformer", "diffusers", "QwenImageTransformer2DModel"));
  TRY(auto config, folder.config<models::QwenImageTransformerConfig>("transformer"));
  TRY(config.block_format, choose_format(options.quantize, loader.dtype(), loader.device()));
  TRY_VOID(loader.check_latents(config.in_channels, config.kPatch * config.kPatch * config.out_channels,
                                kLatentPatch));
  // A picture to go by has sides of so many pixels.
  if (kind != QwenImageKind::plain &&
      kSizedMultiple % (loader.latents().pixels_per_latent * kLatentPatch) != 0) {
    return folder.refuse(ErrorCode::unsupported, "vae/config.json",
                         fmt::format("its latents are {} pixels a side, too many for pictures to go by",
                                     loader.latents().pixels_per_latent));
  }
  TRY(QwenTextEncoder qwen,
      kind == QwenImageKind::plain
          ? QwenTextEncoder::load_qwen2_5_vl(loader, qwen_image_words())
          : QwenTextEncoder::load_with_sight(loader, qwen_edit_words(),
                                             kind == QwenImageKind::edits ? kEditArea : kGlanceArea));
  if (qwen.config().hidden_size != config.joint_attention_dim) {
    return folder.refuse(ErrorCode::data_loss, "transformer/config.json",
                         fmt::format("joint_attention_dim is {}, but text_encoder gives {} values",
                                     config.joint_attention_dim, qwen.config().hidden_size));
  }
  TRY(auto transformer,
      loader.network<models::QwenImageTransformer>("transformer", "diffusion_pytorch_model", config));
  return loader.finish(std::make_unique<QwenImage>(
      QwenImageParts{.transformer = std::move(transformer),
                     .qwen = std::move(qwen),
                     .kind = kind,
                     .pixels_per_latent = static_cast<int>(loader.latents().pixels_per_latent)}));
}

}  // namespace diffused::pipelines
