// Source: huggingface/transformers v5.23.0, src/transformers/models/qwen2_5_vl/modeling_qwen2_5_vl.py and
// vision_utils.py. Differs: a still picture is a film of equal moments, so that the patches' kernel is summed
// over time; one picture a call.
#include "models/qwen2_5_vl_vision.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/rotary.h"

namespace diffused::models {
namespace {

constexpr double kVisionNormEps = 1e-6;
constexpr double kVisionRotationBase = 10000;
constexpr std::int64_t kEyeChannels = 3;

// Where the tensors for pictures are.
weights::Scope vision_scope(const weights::Scope& scope) {
  const weights::Scope inner = scope / "model" / "visual";
  return inner.empty() ? scope / "visual" : inner;
}

nn::Linear patch_embedding(const Qwen25VlVisionConfig& c, const weights::Scope& scope) {
  const at::Tensor weight = scope.tensor(
      "weight", {c.hidden_size, kEyeChannels, c.temporal_patch_size, c.patch_size, c.patch_size});
  return {weight.to(at::kFloat).sum(at::IntArrayRef{2}).flatten(1).to(weight.scalar_type()), {}};
}

// The places of a picture's vectors, window by window, and how many vectors each window has.
struct Windows {
  std::vector<std::int64_t> order, sizes;
};
Windows windows_of(std::int64_t rows, std::int64_t columns, std::int64_t side) {
  Windows windows;
  for (std::int64_t top = 0; top < rows; top += side) {
    for (std::int64_t left = 0; left < columns; left += side) {
      const std::int64_t bottom = std::min(top + side, rows), right = std::min(left + side, columns);
      for (std::int64_t row = top; row < bottom; ++row) {
        for (std::int64_t column = left; column < right; ++column)
          windows.order.push_back(row * columns + column);
      }
      windows.sizes.push_back((bottom - top) * (right - left));
    }
  }
  return windows;
}

}  // namespace

Result<Qwen25VlVisionConfig> Qwen25VlVisionConfig::from_json(const boost::json::object& json) {
  Qwen25VlVisionConfig c;
  ConfigReader read(json);
  c.depth = read.integer("depth", c.depth);
  c.hidden_size = read.integer("hidden_size", c.hidden_size);
  c.intermediate_size = read.integer("intermediate_size", c.intermediate_size);
  c.num_heads = read.integer("num_heads", c.num_heads);
  c.patch_size = read.integer("patch_size", c.patch_size);
  c.spatial_merge_size = read.integer("spatial_merge_size", c.spatial_merge_size);
  c.temporal_patch_size = read.integer("temporal_patch_size", c.temporal_patch_size);
  c.window_size = read.integer("window_size", c.window_size);
  c.out_hidden_size = read.integer("out_hidden_size", c.out_hidden_size);
  c.fullatt_block_indexes = read.integers("fullatt_block_indexes", c.fullatt_block_indexes, /*least=*/0);
  // A head's values tell two positions, each by pairs.
  read.require(c.hidden_size % (4 * c.num_heads) == 0, "num_heads", "must divide hidden_size into fours");
  read.require(c.window_size >= c.vector_side(), "window_size", "is too small for any vector");
  read.support(read.integer("in_channels", read.integer("in_chans", kEyeChannels)) == kEyeChannels,
               "in_channels", "must be 3");
  read.support(read.text("hidden_act", "silu") == "silu", "hidden_act", "must be \"silu\"");
  return read.finish(c);
}

double Qwen25VlVisionConfig::flops(std::int64_t patches) const {
  const double d = hidden_size, window = window_size / patch_size;
  const auto full = static_cast<double>(fullatt_block_indexes.size());
  const double linears = patches * d * (4 * d + 3.0 * intermediate_size) * depth;
  const double scores = 2 * d * patches * (full * patches + (depth - full) * window * window);
  const double merged = spatial_merge_size * spatial_merge_size * d;
  return 2 * (linears + scores +
              patches * d * (kEyeChannels * patch_size * patch_size + merged + out_hidden_size));
}

// Which vectors see each other in a layer, and where they are.
struct VisionPass {
  nn::Rotation rotation;
  std::vector<std::int64_t> sizes;  // of the groups of tokens, one behind the other
};

class Qwen25VlVisionBlock {
 public:
  Qwen25VlVisionBlock(const Qwen25VlVisionConfig& config, const weights::Scope& scope)
      : heads_(config.num_heads),
        norm1_(scope / "norm1", config.hidden_size, kVisionNormEps),
        norm2_(scope / "norm2", config.hidden_size, kVisionNormEps),
        qkv_(scope / "attn.qkv", config.hidden_size, 3 * config.hidden_size),
        proj_(scope / "attn.proj", config.hidden_size, config.hidden_size),
        gate_proj_(scope / "mlp.gate_proj", config.hidden_size, config.intermediate_size),
        up_proj_(scope / "mlp.up_proj", config.hidden_size, config.intermediate_size),
        down_proj_(scope / "mlp.down_proj", config.intermediate_size, config.hidden_size) {}

  // x: [1, N, hidden_size] → the same
  at::Tensor operator()(const at::Tensor& x, const VisionPass& pass) const {
    const auto qkv = qkv_(norm1_(x)).chunk(3, -1);  // 3 of [1, N, H * D]
    const at::Tensor q = nn::rotate_halves(nn::split_heads(qkv[0], heads_), pass.rotation);
    const at::Tensor k = nn::rotate_halves(nn::split_heads(qkv[1], heads_), pass.rotation);
    const auto qs = q.split_with_sizes(pass.sizes, 2), ks = k.split_with_sizes(pass.sizes, 2);
    const auto vs = nn::split_heads(qkv[2], heads_).split_with_sizes(pass.sizes, 2);
    std::vector<at::Tensor> seen;
    for (std::size_t i = 0; i < qs.size(); ++i) seen.push_back(nn::attention(qs[i], ks[i], vs[i]));
    const at::Tensor attended = proj_.add_to(x, nn::merge_heads(at::cat(seen, 2)));
    const at::Tensor y = norm2_(attended);
    return down_proj_.add_to(attended, gate_proj_(y, nn::Activation::silu) * up_proj_(y));
  }

 private:
  std::int64_t heads_;
  nn::RmsNorm norm1_, norm2_;
  nn::Linear qkv_, proj_;
  nn::Linear gate_proj_, up_proj_, down_proj_;
};

Qwen25VlVision::Qwen25VlVision(const Qwen25VlVisionConfig& config, const weights::Scope& scope)
    : config_(config),
      patch_embed_(patch_embedding(config, scope / "patch_embed.proj")),
      ln_q_(scope / "merger.ln_q", config.hidden_size, kVisionNormEps),
      mlp_in_(scope / "merger.mlp.0",
              config.hidden_size * config.spatial_merge_size * config.spatial_merge_size,
              config.hidden_size * config.spatial_merge_size * config.spatial_merge_size),
      mlp_out_(scope / "merger.mlp.2",
               config.hidden_size * config.spatial_merge_size * config.spatial_merge_size,
               config.out_hidden_size) {
  for (int i = 0; i < config.depth; ++i) blocks_.emplace_back(config, scope / "blocks" / i);
}

Qwen25VlVision::~Qwen25VlVision() = default;
Qwen25VlVision::Qwen25VlVision(Qwen25VlVision&&) noexcept = default;

at::Tensor Qwen25VlVision::forward(const at::Tensor& picture) const {
  const std::int64_t merge = config_.spatial_merge_size, patch = config_.patch_size;
  const std::int64_t rows = picture.size(2) / config_.vector_side();
  const std::int64_t columns = picture.size(3) / config_.vector_side();
  CHECK(rows * config_.vector_side() == picture.size(2) &&
        columns * config_.vector_side() == picture.size(3));
  // The patches of a vector lie together, and the vectors of a window do.
  const Windows windows = windows_of(rows, columns, config_.window_size / config_.vector_side());
  const at::Tensor order = at::tensor(windows.order, at::kLong).to(picture.device());
  const auto in_order = [&](const at::Tensor& by_vector) {  // [vectors, merge², …] → [tokens, …]
    return by_vector.index_select(0, order).flatten(0, 1);
  };
  const at::Tensor patches = picture.squeeze(0)
                                 .reshape({kEyeChannels, rows, merge, patch, columns, merge, patch})
                                 .permute({1, 4, 2, 5, 0, 3, 6})  // [rows, columns, merge, merge, C, p, p]
                                 .flatten(4)
                                 .flatten(2, 3)
                                 .flatten(0, 1);  // [vectors, merge², C * p²]
  const at::TensorOptions whole = at::TensorOptions(picture.device()).dtype(at::kFloat);
  const auto along = [&](const at::Tensor& places) {
    return places.expand({rows, merge, columns, merge}).permute({0, 2, 1, 3}).flatten(2).flatten(0, 1);
  };
  const at::Tensor down = along(at::arange(rows * merge, whole).view({rows, merge, 1, 1}));
  const at::Tensor right = along(at::arange(columns * merge, whole).view({1, 1, columns, merge}));
  const std::int64_t half = config_.hidden_size / config_.num_heads / 2;
  VisionPass pass{
      .rotation = nn::rotation_of_halves(in_order(at::stack({down, right}, -1)), half, kVisionRotationBase),
      .sizes = {}};
  std::vector<std::int64_t> near;
  for (const std::int64_t size : windows.sizes) near.push_back(size * merge * merge);
  at::Tensor x = patch_embed_(in_order(patches).unsqueeze(0));  // [1, tokens, hidden_size]
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const bool all = std::ranges::find(config_.fullatt_block_indexes, static_cast<std::int64_t>(i)) !=
                     config_.fullatt_block_indexes.end();
    pass.sizes = all ? std::vector<std::int64_t>{x.size(1)} : near;
    x = blocks_[i](x, pass);
  }
  const at::Tensor merged = ln_q_(x).reshape({1, rows * columns, -1});  // [1, vectors, merge² * hidden_size]
  const at::Tensor vectors = mlp_out_(mlp_in_(merged, nn::Activation::gelu));
  return vectors.index_select(1, order.argsort());
}

Result<Qwen25VlConfig> Qwen25VlConfig::from_json(const boost::json::object& json) {
  Qwen25VlConfig c;
  TRY(const auto text, Qwen25VlTextConfig::from_json(json));
  c.decoder = text.decoder;
  const boost::json::value* const vision = json.if_contains("vision_config");
  TRY(c.vision, Qwen25VlVisionConfig::from_json(
                    vision != nullptr && vision->is_object() ? vision->get_object() : boost::json::object()));
  ConfigReader read(json);
  c.image_token_id = static_cast<int>(read.integer("image_token_id", c.image_token_id, /*least=*/0));
  read.require(c.vision.out_hidden_size == c.decoder.hidden_size, "vision_config",
               "out_hidden_size must be the hidden_size of the text");
  return read.finish(c);
}

Qwen25Vl::Qwen25Vl(const Qwen25VlConfig& config, const weights::Scope& scope)
    : config_(config), text_(config.decoder, scope), vision_(config.vision, vision_scope(scope)) {}

}  // namespace diffused::models
