// Source: huggingface/diffusers v0.42.1, src/diffusers/models/autoencoders/autoencoder_kl_flux2.py, and
// _patchify_latents of pipelines/flux2/pipeline_flux2_klein.py. No tiling.
#include "models/autoencoder_kl_flux2.h"

#include <ATen/ATen.h>

#include "models/config_reader.h"

namespace diffused::models {
namespace {

constexpr std::int64_t kPacked = AutoencoderKlFlux2Config::kPatch;

// [B, C, h, w] → [B, C * patch * patch, h / patch, w / patch]
at::Tensor packed(const at::Tensor& x) {
  return x.unflatten(3, {-1, kPacked})
      .unflatten(2, {-1, kPacked})  // [B, C, rows, patch, columns, patch]
      .permute({0, 1, 3, 5, 2, 4})  // [B, C, patch, patch, rows, columns]
      .flatten(1, 3)
      .contiguous();
}

// The reverse.
at::Tensor unpacked(const at::Tensor& x) {
  return x
      .unflatten(1, {-1, kPacked, kPacked})  // [B, C, patch, patch, rows, columns]
      .permute({0, 1, 4, 2, 5, 3})           // [B, C, rows, patch, columns, patch]
      .flatten(4)
      .flatten(2, 3)
      .contiguous();
}

}  // namespace

Result<AutoencoderKlFlux2Config> AutoencoderKlFlux2Config::from_json(const boost::json::object& json) {
  boost::json::object inner = json;
  const boost::json::object defaults = {{"block_out_channels", {128, 256, 512, 512}},
                                        {"layers_per_block", 2},
                                        {"latent_channels", 32},
                                        {"scaling_factor", 1.0},
                                        {"down_block_types", boost::json::array(4, "DownEncoderBlock2D")},
                                        {"up_block_types", boost::json::array(4, "UpDecoderBlock2D")}};
  for (const auto& [key, value] : defaults) inner.emplace(key, value);
  // It has neither, whatever a file says.
  inner["scaling_factor"] = 1.0;
  inner["shift_factor"] = nullptr;
  AutoencoderKlFlux2Config c;
  TRY(c.inner, AutoencoderKlConfig::from_json(inner));
  ConfigReader read(json);
  c.batch_norm_eps = read.number("batch_norm_eps", c.batch_norm_eps);
  if (read.integers("patch_size", {kPacked, kPacked}, 1) != std::vector<std::int64_t>{kPacked, kPacked})
    read.refuse("patch_size", "must be [2, 2]", ErrorCode::unsupported);
  return read.finish(c);
}

AutoencoderKlFlux2::AutoencoderKlFlux2(const AutoencoderKlFlux2Config& config, const weights::Scope& scope)
    : config_(config), inner_(config.inner, scope) {
  const weights::Scope bn = (scope / "bn").with_dtype(at::kFloat);
  const std::int64_t channels = config.format().channels;
  mean_ = bn.tensor("running_mean", {channels}).view({1, channels, 1, 1});
  deviation_ =
      (bn.tensor("running_var", {channels}) + config.batch_norm_eps).sqrt().view({1, channels, 1, 1});
  (scope / "bn").leave_out();  // the count of what it was trained with
}

at::Tensor AutoencoderKlFlux2::decode_stage(std::size_t stage, const at::Tensor& x) const {
  return inner_.decode_stage(stage, stage == 0 ? unpacked(x) : x);
}

std::vector<double> AutoencoderKlFlux2::decode_flops(std::int64_t latent_h, std::int64_t latent_w) const {
  return inner_.decode_flops(latent_h * kPacked, latent_w * kPacked);
}

LatentDistribution AutoencoderKlFlux2::encode(const at::Tensor& image) const {
  const LatentDistribution distribution = inner_.encode(image);
  return {.mean = packed(distribution.mean), .logvar = packed(distribution.logvar)};
}

at::Tensor AutoencoderKlFlux2::scaled(const at::Tensor& latents, bool) const {
  return (latents - mean_.to(latents.scalar_type())) / deviation_.to(latents.scalar_type());
}

at::Tensor AutoencoderKlFlux2::unscaled(const at::Tensor& latents) const {
  return latents * deviation_.to(latents.scalar_type()) + mean_.to(latents.scalar_type());
}

}  // namespace diffused::models
