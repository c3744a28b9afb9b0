// Source: huggingface/diffusers v0.42.1, src/diffusers/models/unets/{unet_2d_condition,unet_2d_blocks}.py.
// Block types of Stable Diffusion 1, 2 and XL only. Differs: the time projections of all resnets run before
// the first, and the keys and values of a text are computed once.
#include "models/unet_2d_condition.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <utility>

#include "models/config_reader.h"
#include "models/unet_2d_blocks.h"
#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/embedding.h"

namespace diffused::models {
namespace {

constexpr std::size_t kUnetLevelsMax = 16;
constexpr std::int64_t kLayersMax = 256;

// Options of which only one value is known here, which is Diffusers' default.
void refuse_other_kinds(ConfigReader& read, const boost::json::object& json) {
  static const boost::json::object kOnly{{"center_input_sample", false},
                                         {"flip_sin_to_cos", true},
                                         {"freq_shift", 0},
                                         {"only_cross_attention", false},
                                         {"downsample_padding", 1},
                                         {"mid_block_scale_factor", 1},
                                         {"encoder_hid_dim_type", nullptr},
                                         {"num_attention_heads", nullptr},
                                         {"dual_cross_attention", false},
                                         {"class_embed_type", nullptr},
                                         {"num_class_embeds", nullptr},
                                         {"resnet_time_scale_shift", "default"},
                                         {"resnet_skip_time_act", false},
                                         {"resnet_out_scale_factor", 1},
                                         {"time_embedding_type", "positional"},
                                         {"time_embedding_dim", nullptr},
                                         {"time_embedding_act_fn", nullptr},
                                         {"timestep_post_act", nullptr},
                                         {"conv_in_kernel", 3},
                                         {"conv_out_kernel", 3},
                                         {"attention_type", "default"},
                                         {"class_embeddings_concat", false},
                                         {"cross_attention_norm", nullptr}};
  for (const auto& [key, only] : kOnly) {
    const boost::json::value* const value = json.if_contains(key);
    const bool same_number = value && value->is_number() && only.is_number() &&
                             value->to_number<double>() == only.to_number<double>();
    if (value && *value != only && !same_number) {
      read.refuse(key,
                  fmt::format("has a value that is not supported; only {} is", boost::json::serialize(only)),
                  ErrorCode::unsupported);
    }
  }
  const std::string act = read.text("act_fn", "silu");
  if (act != "silu" && act != "swish") {
    read.refuse("act_fn", fmt::format("names an activation that is not supported: {}", act),
                ErrorCode::unsupported);
  }
}

// For each level whether its block has attention, in the config's order.
std::vector<bool> blocks_with_attention(ConfigReader& read, std::string_view key,
                                        std::vector<std::string> fallback, std::string_view plain) {
  std::vector<std::string> names = read.texts(key);
  if (names.empty()) names = std::move(fallback);
  const std::string with_attention = "CrossAttn" + std::string(plain);
  std::vector<bool> attention;
  for (const std::string& name : names) {
    if (name != plain && name != with_attention) {
      read.refuse(key, fmt::format("names a block that is not supported: {}", name), ErrorCode::unsupported);
    }
    attention.push_back(name == with_attention);
  }
  return attention;
}

// The transformer blocks after each resnet. c: without depths.
void read_depths(ConfigReader& read, const std::vector<bool>& down, const std::vector<bool>& up,
                 Unet2DConditionConfig& c) {
  const std::string key = "transformer_layers_per_block", up_key = "reverse_" + key;
  const std::size_t count = c.levels.size();
  std::vector<std::int64_t> down_counts, up_counts;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t level = count - 1 - i;
    down_counts.push_back(down[i] ? c.levels[i].layers : 0);
    up_counts.push_back(up[i] ? c.levels[level].layers + 1 : 0);
  }
  // The middle has the last entry's number, or the first of its list.
  const bool mid_attention = c.mid_block && c.mid_depth > 0;
  std::vector<std::int64_t> counts = down_counts;
  if (mid_attention) counts.back() = std::max<std::int64_t>(counts.back(), 1);
  const auto depths = read.nested(key, 1, counts, /*least=*/0);
  std::vector<std::vector<std::int64_t>> up_depths;
  if (read.is_given(up_key)) {
    up_depths = read.nested(up_key, 1, up_counts, /*least=*/0);
  } else {
    read.require(!read.is_nested(key), up_key, fmt::format("is needed, as {} has lists within it", key));
    std::ranges::reverse(up_counts);
    if (read.good()) up_depths = read.nested(key, 1, up_counts, /*least=*/0);
    std::ranges::reverse(up_depths);
  }
  if (!read.good()) return;
  if (mid_attention) c.mid_depth = depths.back().front();
  for (std::size_t i = 0; i < count; ++i) {
    UnetLevel& level = c.levels[i];
    if (down[i]) level.depths = depths[i];
    level.up_depths = up_depths[count - 1 - i];
    for (const auto* const all : {&level.depths, &level.up_depths})
      read.require(std::ranges::find(*all, 0) == all->end(), key, "must not be 0 where there is attention");
  }
  read.require(!mid_attention || c.mid_depth > 0, key, "must not be 0 for the middle's attention");
}

void read_levels(ConfigReader& read, Unet2DConditionConfig& c) {
  const std::vector<std::int64_t> channels =
      read.integers("block_out_channels", {320, 640, 1280, 1280}, /*least=*/1);
  const std::size_t count = channels.size();
  read.require(count >= 1 && count <= kUnetLevelsMax, "block_out_channels", "must have 1 to 16 entries");
  const auto attn = std::string("CrossAttnDownBlock2D"), up_attn = std::string("CrossAttnUpBlock2D");
  const auto down =
      blocks_with_attention(read, "down_block_types", {attn, attn, attn, "DownBlock2D"}, "DownBlock2D");
  const auto up =
      blocks_with_attention(read, "up_block_types", {"UpBlock2D", up_attn, up_attn, up_attn}, "UpBlock2D");
  read.require(down.size() == count, "down_block_types", "must have an entry for each of block_out_channels");
  read.require(up.size() == count, "up_block_types", "must have an entry for each of block_out_channels");
  const auto layers = read.repeated("layers_per_block", 2, count);
  const auto heads = read.repeated("attention_head_dim", 8, count);  // the number of heads, whatever its name
  const auto text = read.repeated("cross_attention_dim", 1280, count);
  if (!read.good()) return;
  c.cross_attention_dim = text.front();
  read.require(std::ranges::count(text, text.front()) == std::ssize(text), "cross_attention_dim",
               "must be the same everywhere");
  for (std::size_t i = 0; i < count; ++i) {
    c.levels.push_back({.channels = channels[i], .layers = layers[i], .heads = heads[i]});
    read.require(layers[i] <= kLayersMax, "layers_per_block", "must be at most 256");
    read.require(channels[i] % c.norm_num_groups == 0, "norm_num_groups",
                 "must divide each of block_out_channels");
    read.require(channels[i] % heads[i] == 0, "attention_head_dim",
                 "is the number of heads, and must divide block_out_channels");
  }
  if (read.good()) read_depths(read, down, up, c);
}

void read_conditions(ConfigReader& read, Unet2DConditionConfig& c) {
  const std::string addition = read.text("addition_embed_type", "");
  c.text_time = addition == "text_time";
  if (!addition.empty() && !c.text_time) {
    read.refuse("addition_embed_type", fmt::format("names an embedding that is not supported: {}", addition),
                ErrorCode::unsupported);
  }
  if (c.text_time) {
    c.addition_time_embed_dim = read.integer("addition_time_embed_dim", 0);
    c.projection_class_embeddings_input_dim = read.integer("projection_class_embeddings_input_dim", 0);
    read.require(c.addition_time_embed_dim > 0 && c.addition_time_embed_dim % 2 == 0,
                 "addition_time_embed_dim", "must be an even number with text_time");
    read.require(c.projection_class_embeddings_input_dim > 0, "projection_class_embeddings_input_dim",
                 "is needed with text_time");
  }
  if (!read.is_null("time_cond_proj_dim")) c.time_cond_proj_dim = read.integer("time_cond_proj_dim", 0);
}

// Multiply-adds of a resnet and a transformer, per pixel.
double resnet_products(double in, double out) { return 9 * out * (in + out) + (in != out ? in * out : 0); }
double transformer_products(double channels, double depth, double pixels, double text_tokens) {
  const double block = channels * (18 * channels + 2 * pixels + 2 * text_tokens);
  return 2 * channels * channels + depth * block;
}

}  // namespace

Result<Unet2DConditionConfig> Unet2DConditionConfig::from_json(const boost::json::object& json) {
  Unet2DConditionConfig c;
  ConfigReader read(json);
  refuse_other_kinds(read, json);
  if (!read.is_null("sample_size")) c.sample_size = read.repeated("sample_size", 0, 2, /*least=*/0).front();
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.out_channels = read.integer("out_channels", c.out_channels);
  c.norm_num_groups = read.integer("norm_num_groups", c.norm_num_groups);
  c.norm_eps = read.number("norm_eps", c.norm_eps);
  c.use_linear_projection = read.boolean("use_linear_projection", c.use_linear_projection);
  const std::string mid =
      read.text("mid_block_type", read.is_null("mid_block_type") ? "" : "UNetMidBlock2DCrossAttn");
  c.mid_block = !mid.empty();
  if (mid == "UNetMidBlock2D") {
    c.mid_depth = 0;
  } else if (c.mid_block && mid != "UNetMidBlock2DCrossAttn") {
    read.refuse("mid_block_type", fmt::format("names a block that is not supported: {}", mid),
                ErrorCode::unsupported);
  }
  read_levels(read, c);
  read_conditions(read, c);
  return read.finish(c);
}

double Unet2DConditionConfig::flops(std::int64_t latent_h, std::int64_t latent_w,
                                    std::int64_t text_tokens) const {
  const double text = text_tokens;
  const auto transformers = [&](double channels, const std::vector<std::int64_t>& depths, double pixels) {
    double products = 0;
    for (const std::int64_t depth : depths) products += transformer_products(channels, depth, pixels, text);
    return products;
  };
  double sum = 0, in = levels.front().channels, below = levels.back().channels;
  double pixels = static_cast<double>(latent_h) * latent_w;
  sum += pixels * 9 * in * (in_channels + out_channels);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const UnetLevel& level = levels[i];
    const bool last = i + 1 == levels.size();
    const double out = level.channels;
    const double narrower = levels[i == 0 ? 0 : i - 1].channels;
    below = last ? out : levels[i + 1].channels;
    const double down = resnet_products(in, out) + (level.layers - 1) * resnet_products(out, out) +
                        transformers(out, level.depths, pixels);
    // On the way up each resnet also sees what the way down gave.
    const double up = resnet_products(below + out, out) + (level.layers - 1) * resnet_products(2 * out, out) +
                      resnet_products(out + narrower, out) + transformers(out, level.up_depths, pixels);
    sum += pixels * (down + up);
    if (!last) sum += pixels * 9 * (out * out / 4 + below * below);
    if (last && mid_block) {
      sum += pixels * resnet_products(out, out);
      if (mid_depth > 0)
        sum += pixels * (resnet_products(out, out) + transformer_products(out, mid_depth, pixels, text));
    }
    in = out;
    pixels /= 4;
  }
  return 2 * sum;
}

// A level's layers, each a resnet and perhaps a transformer, and the convolution to the next level.
struct UnetStage {
  std::vector<UnetResnet> resnets;
  std::vector<PixelTransformer> attentions;  // none, or one for each resnet
  std::optional<nn::Conv2d> resize;

  // One resnet, and its transformer, each with its share of what conditions it.
  at::Tensor layer(std::size_t i, const at::Tensor& x, SideBySide& shifts, SideBySide& contexts) const {
    const at::Tensor y = resnets[i](x, shifts.next(resnets[i].channels()));
    return attentions.empty() ? y : attentions[i](y, contexts.next(attentions[i].context_width()));
  }
};

class UnetBlocks {
 public:
  UnetBlocks(const Unet2DConditionConfig& config, const weights::Scope& scope);

  template <typename F>
  void each_stage(const F& visit) const {
    for (const UnetStage& stage : down) visit(stage);
    if (mid) visit(*mid);
    for (const UnetStage& stage : up) visit(stage);
  }

  at::TensorOptions options;  // of the weights
  nn::Conv2d conv_in;
  nn::TwoLayerEmbedding time_embedding;
  std::optional<nn::Linear> cond_proj;
  std::optional<nn::TwoLayerEmbedding> add_embedding;
  std::vector<UnetStage> down;
  std::optional<UnetStage> mid;  // of two resnets and one transformer, or one resnet
  std::vector<UnetStage> up;
  nn::GroupNorm conv_norm_out;
  nn::Conv2d conv_out;

 private:
  void add_layer(UnetStage& stage, const Unet2DConditionConfig& config, const weights::Scope& scope,
                 std::int64_t in, const UnetLevel& level, std::int64_t depth);
};

UnetBlocks::UnetBlocks(const Unet2DConditionConfig& config, const weights::Scope& scope)
    : options(at::TensorOptions(scope.device()).dtype(scope.dtype())),
      conv_in(scope / "conv_in", config.in_channels, config.levels.front().channels, 3, 1, 1),
      time_embedding(scope / "time_embedding", config.levels.front().channels, config.time_embed_dim()),
      conv_norm_out(scope / "conv_norm_out", config.norm_num_groups, config.levels.front().channels,
                    config.norm_eps),
      conv_out(scope / "conv_out", config.levels.front().channels, config.out_channels, 3, 1, 1) {
  if (config.time_cond_proj_dim > 0) {
    cond_proj.emplace(scope / "time_embedding.cond_proj", config.time_cond_proj_dim,
                      config.levels.front().channels, /*bias=*/false);
  }
  if (config.text_time) {
    add_embedding.emplace(scope / "add_embedding", config.projection_class_embeddings_input_dim,
                          config.time_embed_dim());
  }
  const int count = static_cast<int>(config.levels.size());
  std::vector<std::int64_t> skips = {config.levels.front().channels};
  std::int64_t channels = skips.front();
  for (int i = 0; i < count; ++i) {
    const UnetLevel& level = config.levels[i];
    const weights::Scope block = scope / "down_blocks" / i;
    UnetStage& stage = down.emplace_back();
    for (int j = 0; j < level.layers; ++j) {
      add_layer(stage, config, block, channels, level, level.depths.empty() ? 0 : level.depths.at(j));
      skips.push_back(channels = level.channels);
    }
    if (i + 1 == count) continue;
    stage.resize.emplace(block / "downsamplers.0.conv", channels, channels, 3, /*stride=*/2, /*padding=*/1);
    skips.push_back(channels);
  }
  if (config.mid_block) {
    const UnetLevel& level = config.levels.back();
    mid.emplace();
    add_layer(*mid, config, scope / "mid_block", channels, level, config.mid_depth);
    if (config.mid_depth > 0) add_layer(*mid, config, scope / "mid_block", channels, level, 0);
  }
  for (int i = 0; i < count; ++i) {
    const UnetLevel& level = config.levels[count - 1 - i];
    const weights::Scope block = scope / "up_blocks" / i;
    UnetStage& stage = up.emplace_back();
    for (int j = 0; j <= level.layers; ++j) {
      add_layer(stage, config, block, channels + skips.back(), level,
                level.up_depths.empty() ? 0 : level.up_depths.at(j));
      skips.pop_back();
      channels = level.channels;
    }
    if (i + 1 < count) stage.resize.emplace(block / "upsamplers.0.conv", channels, channels, 3, 1, 1);
  }
}

void UnetBlocks::add_layer(UnetStage& stage, const Unet2DConditionConfig& config, const weights::Scope& scope,
                           std::int64_t in, const UnetLevel& level, std::int64_t depth) {
  const auto index = static_cast<int>(stage.resnets.size());
  stage.resnets.emplace_back(scope / "resnets" / index,
                             UnetResnet::Shape{.in = in,
                                               .out = level.channels,
                                               .time_size = config.time_embed_dim(),
                                               .groups = config.norm_num_groups,
                                               .eps = config.norm_eps});
  if (depth == 0) return;
  stage.attentions.emplace_back(scope / "attentions" / index,
                                PixelTransformer::Shape{.channels = level.channels,
                                                        .heads = level.heads,
                                                        .depth = depth,
                                                        .text_size = config.cross_attention_dim,
                                                        .groups = config.norm_num_groups,
                                                        .linear_projection = config.use_linear_projection,
                                                        .format = config.block_format});
}

Unet2DCondition::Unet2DCondition(const Unet2DConditionConfig& config, const weights::Scope& scope)
    : config_(config), blocks_(std::make_unique<const UnetBlocks>(config, scope)) {}

Unet2DCondition::~Unet2DCondition() = default;
Unet2DCondition::Unet2DCondition(Unet2DCondition&&) noexcept = default;

at::TensorOptions Unet2DCondition::options() const { return blocks_->options; }

at::Tensor Unet2DCondition::embed_context(const at::Tensor& text) const {
  std::vector<at::Tensor> parts;
  blocks_->each_stage([&](const UnetStage& stage) {
    for (const auto& attention : stage.attentions) parts.push_back(attention.keys_values(text));
  });
  return parts.empty() ? text : at::cat(parts, -1);  // [B, T, width]
}

at::Tensor Unet2DCondition::modulations(const UnetConditioning& conditioning) const {
  const auto rounded = [&](const at::Tensor& x) { return x.to(blocks_->options); };
  at::Tensor sinusoid =
      rounded(nn::timestep_sinusoid(conditioning.timesteps, config_.levels.front().channels));  // [R, C]
  if (blocks_->cond_proj) sinusoid = sinusoid + (*blocks_->cond_proj)(rounded(conditioning.guidance));
  at::Tensor embedding = blocks_->time_embedding(sinusoid);  // [R, time_embed_dim]
  if (blocks_->add_embedding) {
    const std::int64_t rows = conditioning.time_ids.size(0);
    const at::Tensor sizes = nn::timestep_sinusoid(rounded(conditioning.time_ids).flatten().to(at::kFloat),
                                                   config_.addition_time_embed_dim)
                                 .view({rows, -1});  // [R, sizes * addition_time_embed_dim]
    embedding = embedding +
                (*blocks_->add_embedding)(rounded(at::cat({conditioning.pooled.to(at::kFloat), sizes}, 1)));
  }
  const at::Tensor active = nn::activate(nn::Activation::silu, embedding);
  std::vector<at::Tensor> shifts;
  blocks_->each_stage([&](const UnetStage& stage) {
    for (const auto& resnet : stage.resnets) shifts.push_back(resnet.time_shift(active));
  });
  return at::cat(shifts, 1);  // [R, channels of all resnets]
}

at::Tensor Unet2DCondition::forward(const at::Tensor& latents, const at::Tensor& context,
                                    const at::Tensor& modulations) const {
  SideBySide shifts(modulations), contexts(context);
  at::Tensor x = blocks_->conv_in(latents.contiguous(at::MemoryFormat::ChannelsLast));  // [B, C, h, w]
  std::vector<at::Tensor> skips = {x};
  for (const UnetStage& stage : blocks_->down) {
    for (std::size_t i = 0; i < stage.resnets.size(); ++i) {
      skips.push_back(x = stage.layer(i, x, shifts, contexts));
    }
    if (stage.resize) skips.push_back(x = (*stage.resize)(x));
  }
  if (const auto& mid = blocks_->mid) {
    x = mid->layer(0, x, shifts, contexts);
    if (mid->resnets.size() > 1) x = mid->resnets[1](x, shifts.next(mid->resnets[1].channels()));
  }
  for (const UnetStage& stage : blocks_->up) {
    for (std::size_t i = 0; i < stage.resnets.size(); ++i) {
      x = stage.layer(i, at::cat({x, skips.back()}, 1), shifts, contexts);
      skips.pop_back();
    }
    // Twice as large, or one less where the way down began at an odd size.
    if (stage.resize) x = (*stage.resize)(at::upsample_nearest2d(x, skips.back().sizes().slice(2)));
  }
  return blocks_->conv_out.of_silu(blocks_->conv_norm_out, x).contiguous();  // [B, out_channels, h, w]
}

}  // namespace diffused::models
