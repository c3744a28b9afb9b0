// Source: huggingface/diffusers v0.42.1, src/diffusers/models/autoencoders/vae.py (DecoderTiny) and
// models/unets/unet_2d_blocks.py (AutoencoderTinyBlock). What Diffusers does not know, the pool before the
// blocks of FLUX.2's, is after the file's own names and shapes. No tiling.
#include "models/tiny_decoder.h"

#include <ATen/ATen.h>

#include <optional>

#include "base/check.h"
#include "nn/norm.h"

namespace diffused::models {
namespace {

constexpr std::int64_t kTinyColours = 3;
constexpr double kClamp = 3;  // latents are brought softly into -3…3
constexpr std::int64_t kPoolTimes = 4, kPoolGroups = 4;
constexpr double kPoolNormEps = 1e-5;
constexpr double kConvs = 3;  // of a block

// What FLUX.2's first blocks add to their input: they normalize it and mix its channels.
class TinyPool {
 public:
  TinyPool(const weights::Scope& scope, std::int64_t width)
      : widen_(scope / 0, width, kPoolTimes * width, 1, 1, 0, /*bias=*/false),
        norm_(scope / 1, kPoolGroups, kPoolTimes * width, kPoolNormEps),
        narrow_(scope / 3, kPoolTimes * width, width, 1, 1, 0, /*bias=*/false) {}

  at::Tensor operator()(const at::Tensor& x) const { return narrow_(at::relu(norm_(widen_(x)))); }

 private:
  nn::Conv2d widen_;
  nn::GroupNorm norm_;
  nn::Conv2d narrow_;
};

std::size_t stages_of(const TinyDecoderConfig& config, std::size_t level) {
  return static_cast<std::size_t>(config.blocks[level]) + 1;  // and the convolution behind them
}

// The number of a layer in Diffusers' list, where activations and doublings count too.
int layer_of(const TinyDecoderConfig& config, std::size_t level) {
  int layer = 2;
  for (std::size_t i = 0; i < level; ++i) layer += static_cast<int>(config.blocks[i]) + 2;
  return layer;
}

}  // namespace

class TinyBlock {
 public:
  TinyBlock(const weights::Scope& scope, std::int64_t width)
      : first_(scope / "conv" / 0, width, width, 3, 1, 1),
        second_(scope / "conv" / 2, width, width, 3, 1, 1),
        third_(scope / "conv" / 4, width, width, 3, 1, 1) {
    if (!(scope / "pool").empty()) pool_.emplace(scope / "pool", width);
  }

  at::Tensor operator()(const at::Tensor& input) const {  // [1, width, h, w] → the same
    const at::Tensor x = pool_ ? input + (*pool_)(input) : input;
    return (third_(second_(first_(x).relu_()).relu_()) + x).relu_();
  }

 private:
  nn::Conv2d first_, second_, third_;
  std::optional<TinyPool> pool_;
};

TinyDecoder::TinyDecoder(const TinyDecoderConfig& config, const weights::Scope& scope)
    : config_(config),
      first_(scope / "decoder" / "layers" / 0, config.latent_channels, config.width, 3, 1, 1),
      last_(scope / "decoder" / "layers" / (layer_of(config, config.blocks.size()) - 2), config.width,
            kTinyColours, 3, 1, 1) {
  const weights::Scope layers = scope / "decoder" / "layers";
  for (std::size_t level = 0; level < config.blocks.size(); ++level) {
    int layer = layer_of(config, level);
    auto& blocks = levels_.emplace_back();
    for (std::int64_t i = 0; i < config.blocks[level]; ++i)
      blocks.emplace_back(layers / layer++, config.width);
    if (level + 1 < config.blocks.size())
      doublings_.emplace_back(layers / (layer + 1), config.width, config.width, /*bias=*/false);
  }
}

TinyDecoder::~TinyDecoder() = default;

// Stage 0 is the first convolution; then, level by level, each block and the convolution behind them.
at::Tensor TinyDecoder::decode_stage(std::size_t stage, const at::Tensor& x) const {
  if (stage == 0) return first_((x / kClamp).tanh() * kClamp).relu_();
  --stage;
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    if (stage < stages_of(config_, level)) return level_stage(level, stage, x);
    stage -= stages_of(config_, level);
  }
  CHECK_WITH(false, "a tiny decoder has no such stage");
  return {};
}

at::Tensor TinyDecoder::level_stage(std::size_t level, std::size_t stage, const at::Tensor& x) const {
  if (stage < levels_[level].size()) return levels_[level][stage](x);
  if (level < doublings_.size()) return doublings_[level](x);
  return last_(x) * 2 - 1;  // [1, 3, H, W]
}

std::vector<double> TinyDecoder::decode_flops(std::int64_t latent_h, std::int64_t latent_w) const {
  const auto width = static_cast<double>(config_.width);
  // Of a convolution of 3 x 3, multiply-adds counted twice.
  const auto conv = [](double pixels, double in, double out) { return 2 * 9 * pixels * in * out; };
  double pixels = static_cast<double>(latent_h * latent_w * config_.patch * config_.patch);
  std::vector<double> flops = {conv(pixels, static_cast<double>(config_.latent_channels), width)};
  for (std::size_t level = 0; level < config_.blocks.size(); ++level) {
    flops.insert(flops.end(), static_cast<std::size_t>(config_.blocks[level]),
                 kConvs * conv(pixels, width, width));
    const bool last = level + 1 == config_.blocks.size();
    if (!last) pixels *= 4;
    flops.push_back(conv(pixels, width, last ? kTinyColours : width));
  }
  return flops;
}

at::Tensor TinyDecoder::unscaled(const at::Tensor& latents) const {
  const at::Tensor own = config_.patch > 1 ? at::pixel_shuffle(latents, config_.patch) : latents;
  return own / config_.scaling_factor + config_.shift_factor;
}

}  // namespace diffused::models
