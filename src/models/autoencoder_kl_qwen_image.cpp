// Source: huggingface/diffusers v0.42.1, src/diffusers/models/autoencoders/autoencoder_kl_qwenimage.py, of a
// film of one moment. No tiling. Differs: a norm's gamma is multiplied by the root of the number of channels
// when it is loaded.
#include "models/autoencoder_kl_qwen_image.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/attention.h"

namespace diffused::models {
namespace {

constexpr double kPixelNormEps = 1e-12;
constexpr std::size_t kQwenImageVaeLevelsMax = 16;

// The convolution that a causal one in three dimensions is for a film's first moment.
nn::Conv2d still_conv(const weights::Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel) {
  const at::Tensor weight = scope.tensor("weight", {out, in, kernel, kernel, kernel});
  return {weight.select(2, kernel - 1).contiguous(), scope.tensor("bias", {out}), /*stride=*/1, kernel / 2};
}

// x / |x| gamma √C, of the channels of each pixel.
class PixelNorm {
 public:
  // Reads `gamma`, [channels, 1, …] with so many ones.
  PixelNorm(const weights::Scope& scope, std::int64_t channels, std::size_t ones) {
    std::vector<std::int64_t> shape(1 + ones, 1);
    shape.front() = channels;
    factors_ = scope.tensor("gamma", shape).flatten() * std::sqrt(static_cast<double>(channels));
  }

  at::Tensor operator()(const at::Tensor& x) const {                   // [B, C, h, w] → the same
    const at::Tensor pixels = x.permute({0, 2, 3, 1}).to(at::kFloat);  // [B, h, w, C]
    const at::Tensor length =
        at::linalg_vector_norm(pixels, 2, {-1}, /*keepdim=*/true).clamp_min(kPixelNormEps);
    return ((pixels / length).to(x.scalar_type()) * factors_).permute({0, 3, 1, 2});
  }
  at::Tensor with_silu(const at::Tensor& x) const { return nn::activate(nn::Activation::silu, (*this)(x)); }

 private:
  at::Tensor factors_;  // [C]
};

constexpr std::size_t kFilmOnes = 3, kPictureOnes = 2;

// Two convolutions around which the input is added back.
class StillResnet {
 public:
  StillResnet(const weights::Scope& scope, std::int64_t in, std::int64_t out)
      : norm1_(scope / "norm1", in, kFilmOnes),
        conv1_(still_conv(scope / "conv1", in, out, 3)),
        norm2_(scope / "norm2", out, kFilmOnes),
        conv2_(still_conv(scope / "conv2", out, out, 3)) {
    if (in != out) conv_shortcut_.emplace(still_conv(scope / "conv_shortcut", in, out, 1));
  }

  at::Tensor operator()(const at::Tensor& x) const {  // [B, in, h, w] → [B, out, h, w]
    const at::Tensor y = conv2_(norm2_.with_silu(conv1_(norm1_.with_silu(x))));
    return y + (conv_shortcut_ ? (*conv_shortcut_)(x) : x);
  }

 private:
  PixelNorm norm1_;
  nn::Conv2d conv1_;
  PixelNorm norm2_;
  nn::Conv2d conv2_;
  std::optional<nn::Conv2d> conv_shortcut_;
};

// One head over all pixels.
class StillAttention {
 public:
  StillAttention(const weights::Scope& scope, std::int64_t channels)
      : norm_(scope / "norm", channels, kPictureOnes),
        to_qkv_(scope / "to_qkv", channels, 3 * channels, 1),
        proj_(scope / "proj", channels, channels, 1) {}

  at::Tensor operator()(const at::Tensor& x) const {  // [B, C, h, w] → the same
    const at::Tensor wide = to_qkv_(norm_(x)).flatten(2).transpose(1, 2).unsqueeze(1);  // [B, 1, h * w, 3 C]
    const auto qkv = wide.chunk(3, -1);                                     // 3 of [B, 1, h * w, C]
    const at::Tensor y = nn::attention(qkv[0], qkv[1], qkv[2]).squeeze(1);  // [B, h * w, C]
    return x + proj_(y.transpose(1, 2).unflatten(2, {x.size(2), x.size(3)}));
  }

 private:
  PixelNorm norm_;
  nn::Conv2d to_qkv_, proj_;
};

// Norm, SiLU, convolution: the end of both networks.
class StillOutput {
 public:
  StillOutput(const weights::Scope& scope, std::int64_t in, std::int64_t out)
      : norm_out_(scope / "norm_out", in, kFilmOnes), conv_out_(still_conv(scope / "conv_out", in, out, 3)) {}

  at::Tensor operator()(const at::Tensor& x) const { return conv_out_(norm_out_.with_silu(x)); }

 private:
  PixelNorm norm_out_;
  nn::Conv2d conv_out_;
};

// Each pixel of the result sees one pixel more to the right and below, none to the left and above.
class StillHalving {
 public:
  StillHalving(const weights::Scope& scope, std::int64_t channels)
      : conv_(scope / "resample.1", channels, channels, 3, /*stride=*/2) {}

  at::Tensor operator()(const at::Tensor& x) const {  // [B, C, h, w] → [B, C, h / 2, w / 2]
    return conv_(at::constant_pad_nd(x, {0, 1, 0, 1}));
  }

 private:
  nn::Conv2d conv_;
};

// A layer of either network and what it reads.
struct StillStage {
  enum class Kind { convolution, resnet, attention, halving, doubling, output };
  Kind kind;
  std::string name;  // of its tensors
  std::int64_t in, out;
  int level = 0;  // it reads pictures of 2 ^ level times the latents' sides
};
using StillKind = StillStage::Kind;
using StillLayer =
    std::variant<nn::Conv2d, StillResnet, StillAttention, StillHalving, nn::DoublingConv2d, StillOutput>;

StillLayer still_layer(const weights::Scope& scope, const StillStage& stage) {
  switch (stage.kind) {
    case StillKind::convolution:
      return still_conv(scope / stage.name, stage.in, stage.out, 3);
    case StillKind::resnet:
      return StillResnet(scope / stage.name, stage.in, stage.out);
    case StillKind::attention:
      return StillAttention(scope / stage.name, stage.in);
    case StillKind::halving:
      return StillHalving(scope / stage.name, stage.in);
    case StillKind::doubling:
      return nn::DoublingConv2d(scope / stage.name / "resample.1", stage.in, stage.out);
    case StillKind::output:
      return StillOutput(scope, stage.in, stage.out);
  }
  CHECK_WITH(false, "a stage outside its enumeration");
}

at::Tensor run_layer(const StillLayer& layer, const at::Tensor& x) {
  return std::visit([&](const auto& one) { return one(x); }, layer);
}

void add_middle(std::vector<StillStage>& stages, std::int64_t channels) {
  stages.push_back({StillKind::resnet, "mid_block.resnets.0", channels, channels});
  stages.push_back({StillKind::attention, "mid_block.attentions.0", channels, channels});
  stages.push_back({StillKind::resnet, "mid_block.resnets.1", channels, channels});
}

std::vector<StillStage> decoder_stages(const AutoencoderKlQwenImageConfig& config) {
  const int levels = static_cast<int>(config.dim_mult.size());
  std::int64_t channels = config.base_dim * config.dim_mult.back();
  std::vector<StillStage> stages = {{StillKind::convolution, "conv_in", config.z_dim, channels}};
  add_middle(stages, channels);
  for (int i = 0; i < levels; ++i) {
    const std::int64_t out = config.base_dim * config.dim_mult[levels - 1 - i];
    for (int j = 0; j <= config.num_res_blocks; ++j) {
      stages.push_back({StillKind::resnet, fmt::format("up_blocks.{}.resnets.{}", i, j), channels, out, i});
      channels = out;
    }
    if (i + 1 == levels) break;
    stages.push_back({StillKind::doubling, fmt::format("up_blocks.{}.upsamplers.0", i), out, out / 2, i});
    channels = out / 2;
  }
  stages.push_back({StillKind::output, "", channels, config.input_channels, levels - 1});
  return stages;
}

std::vector<StillStage> encoder_stages(const AutoencoderKlQwenImageConfig& config) {
  std::int64_t channels = config.base_dim;
  std::vector<StillStage> stages = {{StillKind::convolution, "conv_in", config.input_channels, channels}};
  int place = 0;  // in a list of blocks of both kinds
  for (std::size_t i = 0; i < config.dim_mult.size(); ++i) {
    const std::int64_t out = config.base_dim * config.dim_mult[i];
    for (int j = 0; j < config.num_res_blocks; ++j) {
      stages.push_back({StillKind::resnet, fmt::format("down_blocks.{}", place++), channels, out});
      channels = out;
    }
    if (i + 1 < config.dim_mult.size())
      stages.push_back({StillKind::halving, fmt::format("down_blocks.{}", place++), out, out});
  }
  add_middle(stages, channels);
  stages.push_back({StillKind::output, "", channels, 2 * config.z_dim});
  return stages;
}

// What of a still picture no layer reads: the convolutions over time where a film is made shorter or longer.
void leave_out_time(const weights::Scope& scope, const std::vector<StillStage>& stages) {
  for (const StillStage& stage : stages) {
    if (stage.kind == StillKind::halving || stage.kind == StillKind::doubling)
      (scope / stage.name / "time_conv").leave_out();
  }
}

std::vector<StillLayer> still_layers(const weights::Scope& scope, const std::vector<StillStage>& stages) {
  std::vector<StillLayer> layers;
  for (const StillStage& stage : stages) layers.push_back(still_layer(scope, stage));
  leave_out_time(scope, stages);
  return layers;
}

at::Tensor pixel_major(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

// A value for each channel of latents, as these are kept: [1, C, 1, 1].
at::Tensor by_latent_channel(const std::vector<double>& values, const at::Tensor& latents) {
  return at::tensor(std::vector<float>(values.begin(), values.end()), at::kFloat)
      .view({1, -1, 1, 1})
      .to(latents.options());
}

}  // namespace

class QwenImageEncoder {
 public:
  QwenImageEncoder(const AutoencoderKlQwenImageConfig& config, const weights::Scope& scope)
      : layers_(still_layers(scope, encoder_stages(config))) {}

  at::Tensor operator()(const at::Tensor& image) const {  // [1, 3, H, W] → [1, 2 z_dim, h, w]
    at::Tensor x = pixel_major(image);
    for (const StillLayer& layer : layers_) x = run_layer(layer, x);
    return x;
  }

 private:
  std::vector<StillLayer> layers_;
};

class QwenImageDecoder {
 public:
  QwenImageDecoder(const AutoencoderKlQwenImageConfig& config, const weights::Scope& scope)
      : layers_(still_layers(scope, decoder_stages(config))) {}

  at::Tensor run(std::size_t stage, const at::Tensor& x) const { return run_layer(layers_.at(stage), x); }

 private:
  std::vector<StillLayer> layers_;
};

Result<AutoencoderKlQwenImageConfig> AutoencoderKlQwenImageConfig::from_json(
    const boost::json::object& json) {
  AutoencoderKlQwenImageConfig c;
  ConfigReader read(json);
  c.base_dim = read.integer("base_dim", c.base_dim);
  c.z_dim = read.integer("z_dim", c.z_dim);
  c.dim_mult = read.integers("dim_mult", c.dim_mult, /*least=*/1);
  c.num_res_blocks = read.integer("num_res_blocks", c.num_res_blocks);
  c.input_channels = read.integer("input_channels", c.input_channels);
  c.latents_mean = read.numbers("latents_mean");
  c.latents_std = read.numbers("latents_std");
  const std::size_t levels = c.dim_mult.size();
  read.require(levels >= 1 && levels <= kQwenImageVaeLevelsMax, "dim_mult", "must have 1 to 16 entries");
  // Each doubling halves the channels, and what follows goes by that.
  const auto even = [&](std::int64_t multiple) { return c.base_dim * multiple % 2 == 0; };
  read.require(std::ranges::all_of(c.dim_mult, even), "base_dim", "must be even, or all of dim_mult must be");
  const boost::json::value* const halvings = json.if_contains("temperal_downsample");
  read.require(
      halvings == nullptr ? levels == 4 : halvings->is_array() && halvings->get_array().size() + 1 == levels,
      "temperal_downsample", "must have an entry less than dim_mult");
  for (const auto& [key, values] :
       {std::pair("latents_mean", &c.latents_mean), std::pair("latents_std", &c.latents_std)})
    read.require(std::ssize(*values) == c.z_dim, key, "must have a number for each of the z_dim channels");
  read.require(std::ranges::find(c.latents_std, 0.0) == c.latents_std.end(), "latents_std",
               "must not be zero");
  read.support(read.numbers("attn_scales").empty(), "attn_scales", "must be empty");
  return read.finish(c);
}

std::vector<double> AutoencoderKlQwenImageConfig::decode_flops(std::int64_t latent_h,
                                                               std::int64_t latent_w) const {
  std::vector<double> flops;
  for (const StillStage& stage : decoder_stages(*this)) {
    const double in = stage.in, out = stage.out;
    const double pixels = std::ldexp(static_cast<double>(latent_h) * latent_w, 2 * stage.level);
    const auto multiplications = [&] {  // of each pixel of the stage's input
      switch (stage.kind) {
        case StillKind::resnet:
          return 9 * out * (in + out) + (in != out ? in * out : 0);
        case StillKind::attention:
          return 4 * in * in + 2 * pixels * in;
        case StillKind::doubling:
          return 4 * 9 * in * out;
        default:
          return 9 * in * out;
      }
    };
    flops.push_back(2 * pixels * multiplications());
  }
  return flops;
}

AutoencoderKlQwenImage::AutoencoderKlQwenImage(const AutoencoderKlQwenImageConfig& config,
                                               const weights::Scope& scope)
    : config_(config),
      encoder_(std::make_unique<QwenImageEncoder>(config, scope / "encoder")),
      decoder_(std::make_unique<QwenImageDecoder>(config, scope / "decoder")),
      quant_conv_(still_conv(scope / "quant_conv", 2 * config.z_dim, 2 * config.z_dim, 1)),
      post_quant_conv_(still_conv(scope / "post_quant_conv", config.z_dim, config.z_dim, 1)) {}

AutoencoderKlQwenImage::~AutoencoderKlQwenImage() = default;
AutoencoderKlQwenImage::AutoencoderKlQwenImage(AutoencoderKlQwenImage&&) noexcept = default;

at::Tensor AutoencoderKlQwenImage::decode_stage(std::size_t stage, const at::Tensor& x) const {
  CHECK(x.size(0) == 1);
  return decoder_->run(stage, stage == 0 ? post_quant_conv_(pixel_major(x)) : x);
}

LatentDistribution AutoencoderKlQwenImage::encode(const at::Tensor& images) const {
  std::vector<at::Tensor> moments;
  for (const at::Tensor& image : images.split(1)) moments.push_back(quant_conv_((*encoder_)(image)));
  const auto halves = at::cat(moments).chunk(2, 1);  // 2 of [B, z_dim, h, w]
  return {halves[0], halves[1].clamp(-30, 20)};
}

at::Tensor AutoencoderKlQwenImage::scaled(const at::Tensor& latents, bool) const {
  return (latents - by_latent_channel(config_.latents_mean, latents)) *
         by_latent_channel(config_.latents_std, latents).reciprocal();
}

at::Tensor AutoencoderKlQwenImage::unscaled(const at::Tensor& latents) const {
  // Two divisions, as Diffusers rounds twice.
  return latents / by_latent_channel(config_.latents_std, latents).reciprocal() +
         by_latent_channel(config_.latents_mean, latents);
}

}  // namespace diffused::models
