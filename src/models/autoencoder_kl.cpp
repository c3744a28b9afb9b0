// Source: huggingface/diffusers v0.42.1, src/diffusers/models/autoencoders/{autoencoder_kl,vae}.py,
// models/unets/unet_2d_blocks.py (UNetMidBlock2D, DownEncoderBlock2D, UpDecoderBlock2D) and models/resnet.py.
// No tiling, no time embedding.
#include "models/autoencoder_kl.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/norm.h"

namespace diffused::models {
namespace {

constexpr double kVaeNormEps = 1e-6;
constexpr std::size_t kVaeLevelsMax = 16;

void require_blocks(ConfigReader& read, std::string_view key, std::string_view type, std::size_t levels) {
  const auto blocks = read.texts(key);
  const auto other = std::ranges::find_if(blocks, [&](const std::string& block) { return block != type; });
  if (other != blocks.end()) {
    read.refuse(key, fmt::format("names a block that is not supported: {}", *other), ErrorCode::unsupported);
  }
  read.require(std::max<std::size_t>(blocks.size(), 1) == levels, key,
               "must have an entry for each of block_out_channels");
}

// Two convolutions around which the input is added back.
class ResnetBlock {
 public:
  ResnetBlock(const AutoencoderKlConfig& config, const weights::Scope& scope, std::int64_t in,
              std::int64_t out)
      : norm1_(scope / "norm1", config.norm_num_groups, in, kVaeNormEps),
        conv1_(scope / "conv1", in, out, 3, 1, 1),
        norm2_(scope / "norm2", config.norm_num_groups, out, kVaeNormEps),
        conv2_(scope / "conv2", out, out, 3, 1, 1) {
    if (in != out) conv_shortcut_.emplace(scope / "conv_shortcut", in, out, 1);
  }

  at::Tensor operator()(const at::Tensor& x) const {  // [B, in, h, w] → [B, out, h, w]
    const at::Tensor y = conv1_.of_silu(norm1_, x);   // [B, out, h, w]
    return conv2_.of_silu(norm2_, y, {.picture = conv_shortcut_ ? (*conv_shortcut_)(x) : x});
  }

 private:
  nn::GroupNorm norm1_;
  nn::Conv2d conv1_;
  nn::GroupNorm norm2_;
  nn::Conv2d conv2_;
  std::optional<nn::Conv2d> conv_shortcut_;
};

// One head over all pixels.
class MidAttention {
 public:
  MidAttention(const AutoencoderKlConfig& config, const weights::Scope& scope, std::int64_t channels)
      : group_norm_(scope / "group_norm", config.norm_num_groups, channels, kVaeNormEps),
        qkv_(scope, qkv_names(scope), channels, channels),
        to_out_(scope / (has_old_names(scope) ? "proj_attn" : "to_out.0"), channels, channels) {}

  at::Tensor operator()(const at::Tensor& x) const {                      // [B, C, h, w] → the same
    const at::Tensor pixels = group_norm_(x).flatten(2).transpose(1, 2);  // [B, h * w, C]
    const auto qkv = qkv_(pixels).unsqueeze(1).chunk(3, -1);              // 3 of [B, 1, h * w, C]
    const at::Tensor y = to_out_(nn::attention(qkv[0], qkv[1], qkv[2]).squeeze(1));  // [B, h * w, C]
    return x + y.transpose(1, 2).unflatten(2, {x.size(2), x.size(3)});               // [B, C, h, w]
  }

 private:
  static bool has_old_names(const weights::Scope& scope) { return scope.contains("query.weight"); }
  static std::vector<std::string_view> qkv_names(const weights::Scope& scope) {
    if (has_old_names(scope)) return {"query", "key", "value"};
    return {"to_q", "to_k", "to_v"};
  }

  nn::GroupNorm group_norm_;
  nn::Linear qkv_;
  nn::Linear to_out_;
};

class MidBlock {
 public:
  MidBlock(const AutoencoderKlConfig& config, const weights::Scope& scope, std::int64_t channels)
      : before_(config, scope / "resnets" / 0, channels, channels),
        after_(config, scope / "resnets" / 1, channels, channels) {
    if (config.mid_block_add_attention) attention_.emplace(config, scope / "attentions" / 0, channels);
  }

  at::Tensor operator()(const at::Tensor& x) const {  // [B, C, h, w] → the same
    const at::Tensor y = before_(x);
    return after_(attention_ ? (*attention_)(y) : y);
  }

 private:
  ResnetBlock before_;
  std::optional<MidAttention> attention_;
  ResnetBlock after_;
};

// The resnets of one resolution, the first of which changes the number of channels.
std::vector<ResnetBlock> level(const AutoencoderKlConfig& config, const weights::Scope& scope,
                               std::int64_t count, std::int64_t in, std::int64_t out) {
  std::vector<ResnetBlock> resnets;
  for (int i = 0; i < count; ++i) resnets.emplace_back(config, scope / "resnets" / i, i == 0 ? in : out, out);
  return resnets;
}

// GroupNorm, SiLU, convolution: the end of both networks.
class OutputLayer {
 public:
  OutputLayer(const AutoencoderKlConfig& config, const weights::Scope& scope, std::int64_t in,
              std::int64_t out)
      : conv_norm_out_(scope / "conv_norm_out", config.norm_num_groups, in, kVaeNormEps),
        conv_out_(scope / "conv_out", in, out, 3, 1, 1) {}

  at::Tensor operator()(const at::Tensor& x) const { return conv_out_.of_silu(conv_norm_out_, x); }

 private:
  nn::GroupNorm conv_norm_out_;
  nn::Conv2d conv_out_;
};

// A stage of the decoder: the middle, then levels of resnets, each but the last followed by a doubling.
struct Stage {
  enum class Kind { convolution, resnet, attention, doubling, output };
  Kind kind;
  std::string name;  // of its tensors
  std::int64_t in, out;
  int level = 0;  // it reads pictures of 2 ^ level times the latents' sides
};

std::vector<Stage> decoder_stages(const AutoencoderKlConfig& config) {
  using Kind = Stage::Kind;
  std::int64_t channels = config.decoder_channels().back();
  std::vector<Stage> stages = {{Kind::convolution, "conv_in", config.latent_channels, channels},
                               {Kind::resnet, "mid_block.resnets.0", channels, channels}};
  if (config.mid_block_add_attention) {
    stages.push_back({Kind::attention, "mid_block.attentions.0", channels, channels});
  }
  stages.push_back({Kind::resnet, "mid_block.resnets.1", channels, channels});
  const int levels = static_cast<int>(config.decoder_channels().size());
  for (int i = 0; i < levels; ++i) {
    const std::int64_t out = config.decoder_channels()[levels - 1 - i];
    const std::string block = fmt::format("up_blocks.{}", i);
    for (int j = 0; j <= config.layers_per_block; ++j) {
      stages.push_back({Kind::resnet, fmt::format("{}.resnets.{}", block, j), channels, out, i});
      channels = out;
    }
    if (i + 1 < levels) stages.push_back({Kind::doubling, block + ".upsamplers.0.conv", out, out, i});
  }
  stages.push_back({Kind::output, "", channels, config.out_channels, levels - 1});
  return stages;
}

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

// f(row) for each image, concatenated.
template <typename F>
at::Tensor for_each_image(const at::Tensor& images, F f) {
  std::vector<at::Tensor> results;
  for (const at::Tensor& image : images.split(1)) results.push_back(f(image));
  return at::cat(results);
}

// A value for each channel of latents, as these are kept: [1, C, 1, 1].
at::Tensor of_channels(const std::vector<double>& values, const at::Tensor& latents) {
  return at::tensor(std::vector<float>(values.begin(), values.end()), at::kFloat)
      .view({1, -1, 1, 1})
      .to(latents.options());
}

}  // namespace

Result<AutoencoderKlConfig> AutoencoderKlConfig::from_json(const boost::json::object& json) {
  AutoencoderKlConfig c;
  ConfigReader read(json);
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.out_channels = read.integer("out_channels", c.out_channels);
  c.block_out_channels = read.integers("block_out_channels", c.block_out_channels, /*least=*/1);
  c.decoder_block_out_channels = read.integers("decoder_block_out_channels", {}, /*least=*/1);
  c.layers_per_block = read.integer("layers_per_block", c.layers_per_block);
  c.latent_channels = read.integer("latent_channels", c.latent_channels);
  c.norm_num_groups = read.integer("norm_num_groups", c.norm_num_groups);
  c.scaling_factor = read.number("scaling_factor", c.scaling_factor);
  c.shift_factor = read.optional_number("shift_factor");
  c.use_quant_conv = read.boolean("use_quant_conv", c.use_quant_conv);
  c.use_post_quant_conv = read.boolean("use_post_quant_conv", c.use_post_quant_conv);
  c.mid_block_add_attention = read.boolean("mid_block_add_attention", c.mid_block_add_attention);
  const std::size_t levels = c.block_out_channels.size();
  read.require(levels >= 1 && levels <= kVaeLevelsMax, "block_out_channels", "must have 1 to 16 entries");
  const auto divides = [&](std::int64_t channels) { return channels % c.norm_num_groups == 0; };
  read.require(std::ranges::all_of(c.block_out_channels, divides) &&
                   std::ranges::all_of(c.decoder_channels(), divides),
               "norm_num_groups", "must divide each of block_out_channels");
  read.require(c.decoder_channels().size() == levels, "decoder_block_out_channels",
               "must have an entry for each of block_out_channels");
  read.require(c.scaling_factor != 0, "scaling_factor", "must not be zero");
  require_blocks(read, "down_block_types", "DownEncoderBlock2D", levels);
  require_blocks(read, "up_block_types", "UpDecoderBlock2D", levels);
  const std::string act = read.text("act_fn", "silu");
  if (act != "silu" && act != "swish") {
    read.refuse("act_fn", fmt::format("names an activation that is not supported: {}", act),
                ErrorCode::unsupported);
  }
  c.latents_mean = read.numbers("latents_mean");
  c.latents_std = read.numbers("latents_std");
  // Only both together mean something.
  if (c.latents_mean.empty() || c.latents_std.empty()) c.latents_mean = c.latents_std = {};
  for (const auto& [key, values] :
       {std::pair("latents_mean", &c.latents_mean), std::pair("latents_std", &c.latents_std)})
    read.require(values->empty() || std::ssize(*values) == c.latent_channels, key,
                 "must have a number for each latent channel");
  read.require(std::ranges::find(c.latents_std, 0.0) == c.latents_std.end(), "latents_std",
               "must not be zero");
  return read.finish(c);
}

std::vector<double> AutoencoderKlConfig::decode_flops(std::int64_t latent_h, std::int64_t latent_w) const {
  std::vector<double> flops;
  for (const Stage& stage : decoder_stages(*this)) {
    const double in = stage.in, out = stage.out;
    const double pixels = std::ldexp(static_cast<double>(latent_h) * latent_w, 2 * stage.level);
    const auto multiplications = [&] {  // of each pixel of the stage's input
      switch (stage.kind) {
        case Stage::Kind::convolution:
        case Stage::Kind::output:
          return 9 * in * out;
        case Stage::Kind::resnet:
          return 9 * out * (in + out) + (in != out ? in * out : 0);
        case Stage::Kind::attention:
          return 4 * in * in + 2 * pixels * in;
        case Stage::Kind::doubling:
          return 4 * 9 * in * out;
      }
      return 0.0;
    };
    flops.push_back(2 * pixels * multiplications());
  }
  return flops;
}

// Pixels to the moments of their latents: levels of resnets, each but the last followed by a halving, then
// the middle.
class Encoder {
 public:
  Encoder(const AutoencoderKlConfig& config, const weights::Scope& scope)
      : conv_in_(scope / "conv_in", config.in_channels, config.block_out_channels.front(), 3, 1, 1),
        mid_block_(config, scope / "mid_block", config.block_out_channels.back()),
        out_(config, scope, config.block_out_channels.back(), 2 * config.latent_channels) {
    std::int64_t in = config.block_out_channels.front();
    for (int i = 0; i < std::ssize(config.block_out_channels); ++i) {
      const std::int64_t out = config.block_out_channels[i];
      const weights::Scope block = scope / "down_blocks" / i;
      down_blocks_.push_back(level(config, block, config.layers_per_block, in, out));
      if (i + 1 < std::ssize(config.block_out_channels)) {
        downsamplers_.emplace_back(block / "downsamplers.0.conv", out, out, 3, /*stride=*/2);
      }
      in = out;
    }
  }

  at::Tensor operator()(const at::Tensor& image) const {  // [B, in, H, W] → [B, 2 * latent_channels, h, w]
    at::Tensor x = conv_in_(channels_last(image));
    for (std::size_t i = 0; i < down_blocks_.size(); ++i) {
      for (const ResnetBlock& resnet : down_blocks_[i]) x = resnet(x);
      // The convolution sees one pixel more to the right and below, none to the left and above.
      if (i < downsamplers_.size()) x = downsamplers_[i](at::constant_pad_nd(x, {0, 1, 0, 1}));
    }
    return out_(mid_block_(x));
  }

 private:
  nn::Conv2d conv_in_;
  std::vector<std::vector<ResnetBlock>> down_blocks_;
  std::vector<nn::Conv2d> downsamplers_;
  MidBlock mid_block_;
  OutputLayer out_;
};

// Latents to pixels.
class Decoder {
 public:
  Decoder(const AutoencoderKlConfig& config, const weights::Scope& scope) {
    for (const Stage& stage : decoder_stages(config)) layers_.push_back(make(config, scope, stage));
  }

  std::size_t stages() const { return layers_.size(); }
  at::Tensor run(std::size_t stage, const at::Tensor& x) const {
    return std::visit([&](const auto& layer) { return layer(x); }, layers_[stage]);
  }

 private:
  using Layer = std::variant<nn::Conv2d, ResnetBlock, MidAttention, nn::DoublingConv2d, OutputLayer>;

  static Layer make(const AutoencoderKlConfig& config, const weights::Scope& scope, const Stage& stage) {
    switch (stage.kind) {
      case Stage::Kind::convolution:
        return nn::Conv2d(scope / stage.name, stage.in, stage.out, 3, 1, 1);
      case Stage::Kind::resnet:
        return ResnetBlock(config, scope / stage.name, stage.in, stage.out);
      case Stage::Kind::attention:
        return MidAttention(config, scope / stage.name, stage.in);
      case Stage::Kind::doubling:
        return nn::DoublingConv2d(scope / stage.name, stage.in, stage.out);
      case Stage::Kind::output:
        return OutputLayer(config, scope, stage.in, stage.out);
    }
    CHECK_WITH(false, "a stage outside its enumeration");
  }

  std::vector<Layer> layers_;
};

AutoencoderKl::AutoencoderKl(const AutoencoderKlConfig& config, const weights::Scope& scope)
    : config_(config),
      encoder_(std::make_unique<Encoder>(config, scope / "encoder")),
      decoder_(std::make_unique<Decoder>(config, scope / "decoder")) {
  const std::int64_t latent = config.latent_channels;
  if (config.use_quant_conv) quant_conv_.emplace(scope / "quant_conv", 2 * latent, 2 * latent, 1);
  if (config.use_post_quant_conv) post_quant_conv_.emplace(scope / "post_quant_conv", latent, latent, 1);
}

AutoencoderKl::~AutoencoderKl() = default;
AutoencoderKl::AutoencoderKl(AutoencoderKl&&) noexcept = default;

at::Tensor AutoencoderKl::decode(const at::Tensor& latents) const {
  return for_each_image(latents, [&](at::Tensor x) {
    for (std::size_t stage = 0; stage < decode_stages(); ++stage) x = decode_stage(stage, x);
    return x;
  });
}

std::size_t AutoencoderKl::decode_stages() const { return decoder_->stages(); }

at::Tensor AutoencoderKl::decode_stage(std::size_t stage, const at::Tensor& x) const {
  CHECK(stage < decode_stages() && x.size(0) == 1);
  if (stage > 0) return decoder_->run(stage, x);
  const at::Tensor latents = channels_last(x);
  return decoder_->run(stage, post_quant_conv_ ? (*post_quant_conv_)(latents) : latents);
}

LatentDistribution AutoencoderKl::encode(const at::Tensor& images) const {
  const std::int64_t f = config_.pixels_per_latent();
  CHECK_WITH(images.size(2) % f == 0 && images.size(3) % f == 0,
             fmt::format("an image of {}x{}, latents of {} pixels", images.size(2), images.size(3), f));
  const at::Tensor moments = for_each_image(images, [&](const at::Tensor& image) {
    const at::Tensor x = (*encoder_)(image);
    return quant_conv_ ? (*quant_conv_)(x) : x;
  });                                       // [B, 2 * latent_channels, h, w]
  const auto halves = moments.chunk(2, 1);  // 2 of [B, latent_channels, h, w]
  return {halves[0], halves[1].clamp(-30, 20)};
}

at::Tensor AutoencoderKl::scaled(const at::Tensor& latents, bool by_channel) const {
  if (by_channel && !config_.latents_mean.empty()) {
    return (latents - of_channels(config_.latents_mean, latents)) * config_.scaling_factor /
           of_channels(config_.latents_std, latents);
  }
  return (latents - config_.shift_factor.value_or(0)) * config_.scaling_factor;
}

at::Tensor AutoencoderKl::unscaled(const at::Tensor& latents) const {
  if (!config_.latents_mean.empty()) {
    return latents * of_channels(config_.latents_std, latents) / config_.scaling_factor +
           of_channels(config_.latents_mean, latents);
  }
  return latents / config_.scaling_factor + config_.shift_factor.value_or(0);
}

}  // namespace diffused::models
