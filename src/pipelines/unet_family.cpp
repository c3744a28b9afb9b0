// Follows diffusers 0.42.1, pipelines/stable_diffusion/pipeline_stable_diffusion.py and
// pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py.
#include "pipelines/unet_family.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>
#include <fmt/format.h>

#include <cmath>

#include "pipelines/latent_request.h"

namespace diffused::pipelines {
namespace {

constexpr std::int64_t kSideDefault = 64;  // latents, where the config names no size
// The network takes any size; this keeps one picture's memory within reason.
constexpr std::int64_t kSideMax = 512;
constexpr float kLongestPeriod = 10000;
constexpr double kGuidanceUnits = 1000;

// [sin, cos] of the guidance scale less one, as the distilled networks were told it: [1, size] float32.
at::Tensor guidance_embedding(double scale, std::int64_t size) {
  const std::int64_t half = size / 2;
  const float step = std::log(kLongestPeriod) / static_cast<float>(half - 1);
  const at::Tensor frequencies = at::exp(at::arange(half, at::kFloat) * -step);
  const at::Tensor angles = frequencies * (static_cast<float>(scale - 1) * kGuidanceUnits);
  return at::cat({at::sin(angles), at::cos(angles)}).unsqueeze(0);  // [1, size]
}

}  // namespace

UnetFamily::UnetFamily(std::shared_ptr<const models::Unet2DCondition> unet, FamilyTraits traits)
    : unet_(std::move(unet)), traits_(traits) {
  const std::int64_t side = unet_->config().sample_size;
  traits_.latent_side_default = side > 0 ? side : kSideDefault;
  traits_.latent_side_max = kSideMax;
  if (traits_.strength_rule != StrengthRule::shorten_schedule)
    traits_.strength_rule = StrengthRule::make_whole_steps;
  traits_.masked_picture_draws = true;
  traits_.fills = unet_->config().in_channels != unet_->config().out_channels;
}

std::optional<Guidance> UnetFamily::guidance(const GenerateRequest& resolved) const {
  if (unet_->config().time_cond_proj_dim > 0 || *resolved.guidance_scale <= 1) return std::nullopt;
  return Guidance{.scale = *resolved.guidance_scale, .rescale = resolved.guidance_rescale.value_or(0)};
}

at::Tensor UnetFamily::conditioning(const at::Tensor& timesteps, const RowPrompts& prompts,
                                    const GenerateRequest& resolved) const {
  const models::Unet2DConditionConfig& config = unet_->config();
  const std::int64_t steps = timesteps.size(0);
  const auto each_step = [&](const at::Tensor& row) {
    return row.to(timesteps.device()).expand({steps, -1});  // [1, n] → [K, n]
  };
  std::vector<at::Tensor> all_timesteps, pooled, sizes, guidance;
  for (const PromptSide side : {PromptSide::negative, PromptSide::positive}) {
    const PromptEmbedding* const prompt = side == PromptSide::negative ? prompts.negative : prompts.positive;
    if (!prompt) continue;
    all_timesteps.push_back(timesteps);
    if (config.text_time) {
      pooled.push_back(each_step(prompt->pooled));
      sizes.push_back(each_step(time_ids(resolved, side)));
    }
    if (config.time_cond_proj_dim > 0)
      guidance.push_back(each_step(guidance_embedding(*resolved.guidance_scale, config.time_cond_proj_dim)));
  }
  const auto joined = [](const std::vector<at::Tensor>& rows) {
    return rows.empty() ? at::Tensor() : at::cat(rows);
  };
  return unet_->modulations({.timesteps = at::cat(all_timesteps),
                             .guidance = joined(guidance),
                             .pooled = joined(pooled),
                             .time_ids = joined(sizes)});
}

at::Tensor UnetFamily::predict(const NetworkCall& call) const {
  const at::Tensor input = call.fill.defined() ? at::cat({call.latents, call.fill}, 1) : call.latents;
  return unet_->forward(input, call.contexts(), call.conditioning);
}

Result<models::Unet2DConditionConfig> read_unet_config(const LatentLoader& loader) {
  const ModelFolder& folder = loader.folder();
  TRY_VOID(folder.require("unet", "diffusers", "UNet2DConditionModel"));
  TRY(auto config, folder.config<models::Unet2DConditionConfig>("unet"));
  const std::int64_t latent_channels = loader.latents().channels;
  const bool fills = config.in_channels == 2 * latent_channels + 1;  // latents, mask, masked picture
  if (!(config.in_channels == latent_channels || fills) || config.out_channels != latent_channels) {
    return folder.refuse(
        ErrorCode::unsupported, "unet/config.json",
        fmt::format("in_channels {} and out_channels {}, but the autoencoder's latents have {} channels",
                    config.in_channels, config.out_channels, latent_channels));
  }
  TRY(config.block_format, choose_format(loader.options().quantize, loader.dtype(), loader.device()));
  return config;
}

Result<void> check_text_width(const LatentLoader& loader, const models::Unet2DConditionConfig& unet,
                              std::int64_t text_width) {
  if (unet.cross_attention_dim == text_width) return {};
  return loader.folder().refuse(ErrorCode::data_loss, "unet/config.json",
                                fmt::format("cross_attention_dim is {}, but the text encoders give {}",
                                            unet.cross_attention_dim, text_width));
}

Result<std::shared_ptr<const models::Unet2DCondition>> load_unet(
    LatentLoader& loader, const models::Unet2DConditionConfig& config) {
  return loader.network<models::Unet2DCondition>("unet", "diffusion_pytorch_model", config);
}

}  // namespace diffused::pipelines
