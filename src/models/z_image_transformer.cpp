// Source: huggingface/diffusers v0.42.1, src/diffusers/models/transformers/transformer_z_image.py. Differs:
// the adaLN linears of all blocks run before the first block, with their gates' tanh; rows of a batch have
// texts of one length; no pictures as prompts, no ControlNet.
#include "models/z_image_transformer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "base/check.h"
#include "models/config_reader.h"
#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/gated_linear.h"
#include "nn/modulation.h"
#include "nn/qkv_projection.h"

namespace diffused::models {
namespace {

constexpr double kHeadNormEps = 1e-5;  // of queries and keys, whatever norm_eps is
constexpr double kFinalNormEps = 1e-6;
constexpr std::int64_t kSinusoidSize = 256;
constexpr std::int64_t kTimestepHidden = 1024;
constexpr std::int64_t kTimestepSizeMax = 256;

constexpr std::int64_t kPatch = ZImageTransformerConfig::kPatch;

// Of the timestep's embedding.
std::int64_t timestep_size(const ZImageTransformerConfig& config) {
  return std::min(config.dim, kTimestepSizeMax);
}

std::int64_t hidden_size(const ZImageTransformerConfig& config) {
  return static_cast<std::int64_t>(static_cast<double>(config.dim) / 3 * 8);
}

// x: [B, N, D] and as many of `token` [1, D] as make N a multiple of kTokenMultiple.
at::Tensor with_pads(const at::Tensor& x, const at::Tensor& token) {
  const std::int64_t pads = ZImageTransformerConfig::padded(x.size(1)) - x.size(1);
  if (pads == 0) return x;
  return at::cat({x, token.unsqueeze(0).expand({x.size(0), pads, -1})}, 1);
}

// Three numbers for one key, each at least `least`.
void read_axes(ConfigReader& read, const char* key, std::int64_t least, std::array<std::int64_t, 3>& axes) {
  const auto given = read.integers(key, {axes.begin(), axes.end()}, least);
  read.require(given.size() == axes.size(), key, "must be three numbers");
  if (given.size() == axes.size()) std::ranges::copy(given, axes.begin());
}

}  // namespace

Result<ZImageTransformerConfig> ZImageTransformerConfig::from_json(const boost::json::object& json) {
  ZImageTransformerConfig c;
  ConfigReader read(json);
  read.support(read.integers("all_patch_size", {kPatch}, 1) == std::vector<std::int64_t>{kPatch},
               "all_patch_size", "must be [2]");
  read.support(read.integers("all_f_patch_size", {1}, 1) == std::vector<std::int64_t>{1}, "all_f_patch_size",
               "must be [1]");
  read.support(read.boolean("qk_norm", true), "qk_norm", "must be true");
  read.support(!read.is_given("siglip_feat_dim"), "siglip_feat_dim", "must be null: no pictures as prompts");
  c.in_channels = read.integer("in_channels", c.in_channels);
  c.dim = read.integer("dim", c.dim);
  c.n_layers = read.integer("n_layers", c.n_layers, /*least=*/0);
  c.n_refiner_layers = read.integer("n_refiner_layers", c.n_refiner_layers, /*least=*/0);
  c.n_heads = read.integer("n_heads", c.n_heads);
  c.norm_eps = read.number("norm_eps", c.norm_eps);
  c.cap_feat_dim = read.integer("cap_feat_dim", c.cap_feat_dim);
  c.rope_theta = read.number("rope_theta", c.rope_theta);
  c.t_scale = read.number("t_scale", c.t_scale);
  read.require(c.rope_theta > 0, "rope_theta", "must be positive");
  read_axes(read, "axes_dims", /*least=*/0, c.axes_dims);
  // A text of kTokenMultiple tokens begins at position 1 and the picture behind it.
  read_axes(read, "axes_lens", /*least=*/1, c.axes_lens);
  read.require(c.axes_lens[0] >= kTokenMultiple + 2, "axes_lens", "is too short for any text");
  const bool even = std::ranges::all_of(c.axes_dims, [](std::int64_t size) { return size % 2 == 0; });
  const auto sum = std::accumulate(c.axes_dims.begin(), c.axes_dims.end(), std::int64_t{0});
  read.require(even && sum * c.n_heads == c.dim, "axes_dims",
               fmt::format("must be even numbers with the sum dim / n_heads = {} / {}", c.dim, c.n_heads));
  return read.finish(c);
}

double ZImageTransformerConfig::flops(std::int64_t image_tokens, std::int64_t text_tokens) const {
  const double d = dim, image = padded(image_tokens), tokens = image + padded(text_tokens);
  const auto block = [&](double n) { return n * d * (4 * d + 3.0 * hidden_size(*this)) + 2 * d * n * n; };
  const double modulation = 4 * d * timestep_size(*this) * (n_refiner_layers + n_layers);
  const double ends = 2 * image * d * in_channels * kPatch * kPatch;
  return 2 * (n_refiner_layers * block(image) + n_layers * block(tokens) + modulation + ends);
}

double ZImageTransformerConfig::context_flops(std::int64_t text_tokens) const {
  const double d = dim, n = padded(text_tokens);
  return 2 * (n * d * cap_feat_dim +
              n_refiner_layers * (n * d * (4 * d + 3.0 * hidden_size(*this)) + 2 * d * n * n));
}

// One block, all of whose norms have weights: norms before attention and perceptron, and norms of their
// results. With a modulation the first two are scaled and the last two gated.
class ZImageBlock {
 public:
  static constexpr std::int64_t kChunks = 4;  // vectors of D: scale and gate of attention, of perceptron

  ZImageBlock(const ZImageTransformerConfig& config, bool modulated, const weights::Scope& scope)
      : attention_norm1_(scope / "attention_norm1", config.dim, config.norm_eps),
        qkv_(scope / "attention",
             {.heads = config.n_heads,
              .head_dim = config.head_dim(),
              .rms_norm_eps = kHeadNormEps,
              .format = config.block_format,
              .bias = false},
             nn::kQkvNames),
        to_out_(scope / "attention.to_out.0", config.dim, config.dim, false, config.block_format),
        attention_norm2_(scope / "attention_norm2", config.dim, config.norm_eps),
        ffn_norm1_(scope / "ffn_norm1", config.dim, config.norm_eps),
        w3_w1_(scope / "feed_forward", "w3", "w1", config.dim, hidden_size(config), nn::Activation::silu,
               config.block_format),
        w2_(scope / "feed_forward.w2", hidden_size(config), config.dim, false, config.block_format),
        ffn_norm2_(scope / "ffn_norm2", config.dim, config.norm_eps) {
    if (modulated) adaln_.emplace(scope / "adaLN_modulation.0", timestep_size(config), kChunks * config.dim);
  }

  // embedding: of timesteps, [R, timestep_size] → [R, kChunks D], factors and gates as they are applied
  at::Tensor modulation(const at::Tensor& embedding) const {
    const auto m = (*adaln_)(embedding).chunk(kChunks, 1);  // of [R, D]
    return at::cat({1 + m[0], m[1].tanh(), 1 + m[2], m[3].tanh()}, 1);
  }

  // x: [B, L, D]; rotation: of L tokens; modulation: [B, kChunks D] → [B, L, D]
  at::Tensor operator()(const at::Tensor& x, const nn::Rotation& rotation,
                        const at::Tensor& modulation) const {
    const auto m = modulation.chunk(kChunks, 1);  // of [B, D]
    const at::Tensor y = attention(attention_norm1_(x) * m[0].unsqueeze(1), rotation);
    const at::Tensor attended = nn::add_gated(x, m[1], attention_norm2_(y));
    const at::Tensor z = w2_(w3_w1_(ffn_norm1_(attended) * m[2].unsqueeze(1)));
    return nn::add_gated(attended, m[3], ffn_norm2_(z));
  }

  // The same of a block without modulation.
  at::Tensor operator()(const at::Tensor& x, const nn::Rotation& rotation) const {
    const at::Tensor attended = x + attention_norm2_(attention(attention_norm1_(x), rotation));
    return attended + ffn_norm2_(w2_(w3_w1_(ffn_norm1_(attended))));
  }

 private:
  at::Tensor attention(const at::Tensor& x, const nn::Rotation& rotation) const {
    const nn::Heads heads = qkv_(x, rotation);  // [B, H, L, head_dim]
    return to_out_(nn::merge_heads(nn::attention(heads.q, heads.k, heads.v)));
  }

  nn::RmsNorm attention_norm1_;
  nn::QkvProjection qkv_;
  nn::Linear to_out_;
  nn::RmsNorm attention_norm2_;
  nn::RmsNorm ffn_norm1_;
  nn::GatedLinear w3_w1_;
  nn::Linear w2_;
  nn::RmsNorm ffn_norm2_;
  std::optional<nn::Linear> adaln_;
};

ZImageTransformer::ZImageTransformer(const ZImageTransformerConfig& config, const weights::Scope& scope)
    : config_(config),
      t_embedder_in_(scope / "t_embedder.mlp.0", kSinusoidSize, kTimestepHidden),
      t_embedder_out_(scope / "t_embedder.mlp.2", kTimestepHidden, timestep_size(config)),
      cap_norm_(scope / "cap_embedder.0", config.cap_feat_dim, config.norm_eps),
      cap_embedder_(scope / "cap_embedder.1", config.cap_feat_dim, config.dim),
      x_embedder_(scope / "all_x_embedder.2-1", config.in_channels * kPatch * kPatch, config.dim),
      x_pad_token_(scope.tensor("x_pad_token", {1, config.dim})),
      cap_pad_token_(scope.tensor("cap_pad_token", {1, config.dim})),
      final_modulation_(scope / "all_final_layer.2-1.adaLN_modulation.1", timestep_size(config), config.dim),
      final_linear_(scope / "all_final_layer.2-1.linear", config.dim, config.in_channels * kPatch * kPatch) {
  for (int i = 0; i < config.n_refiner_layers; ++i) {
    noise_refiner_.emplace_back(config, /*modulated=*/true, scope / "noise_refiner" / i);
    context_refiner_.emplace_back(config, /*modulated=*/false, scope / "context_refiner" / i);
  }
  for (int i = 0; i < config.n_layers; ++i) layers_.emplace_back(config, true, scope / "layers" / i);
}

ZImageTransformer::~ZImageTransformer() = default;
ZImageTransformer::ZImageTransformer(ZImageTransformer&&) noexcept = default;

at::Tensor ZImageTransformer::embed_context(const at::Tensor& text) const {
  at::Tensor c = with_pads(cap_embedder_(cap_norm_(text)), cap_pad_token_);  // [B, T, D]
  CHECK(c.size(1) <= config_.text_tokens_max());
  const nn::Rotation rotation = text_rotation(c.size(1), c.device());
  for (const auto& block : context_refiner_) c = block(c, rotation);
  return c;
}

at::Tensor ZImageTransformer::modulations(const at::Tensor& timesteps) const {
  const at::Tensor sinusoid = nn::timestep_sinusoid(timesteps * config_.t_scale, kSinusoidSize);
  const at::Tensor embedding = t_embedder_out_(
      t_embedder_in_(sinusoid.to(x_pad_token_.scalar_type()), nn::Activation::silu));  // [R, timestep_size]
  std::vector<at::Tensor> parts;
  for (const auto* const blocks : {&noise_refiner_, &layers_}) {
    for (const auto& block : *blocks) parts.push_back(block.modulation(embedding));
  }
  parts.push_back(final_modulation_(nn::activate(nn::Activation::silu, embedding)));
  return at::cat(parts, 1);  // [R, all chunks * D]
}

// Text lies along the first axis, from 1 on.
nn::Rotation ZImageTransformer::text_rotation(std::int64_t tokens, at::Device device) const {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  const at::Tensor along = at::arange(1, tokens + 1, options), zeros = at::zeros({tokens}, options);
  return nn::rotation_of(at::stack({along, zeros, zeros}, 1), config_.axes_dims, config_.rope_theta,
                         nn::Angles::rounded);
}

// The picture lies behind the text, its pad tokens at the origin.
nn::Rotation ZImageTransformer::image_rotation(std::int64_t rows, std::int64_t columns,
                                               std::int64_t text_tokens, at::Device device) const {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  const auto along = [&](const at::Tensor& t) { return t.expand({rows, columns}).flatten(); };
  const at::Tensor image = at::stack(
      {along(at::full({1, 1}, text_tokens + 1, options)), along(at::arange(rows, options).unsqueeze(1)),
       along(at::arange(columns, options).unsqueeze(0))},
      1);  // [N, 3]
  const std::int64_t pads = config_.padded(image.size(0)) - image.size(0);
  return nn::rotation_of(at::constant_pad_nd(image, {0, 0, 0, pads}), config_.axes_dims, config_.rope_theta,
                         nn::Angles::rounded);
}

at::Tensor ZImageTransformer::forward(const at::Tensor& latents, const at::Tensor& context,
                                      const at::Tensor& modulations) const {
  const std::int64_t rows = latents.size(2) / kPatch, columns = latents.size(3) / kPatch;
  const std::int64_t image_tokens = rows * columns;
  CHECK(rows <= config_.axes_lens[1] && columns <= config_.axes_lens[2]);
  std::int64_t chunk = 0;
  const auto next_modulation = [&](std::int64_t chunks) {
    const std::int64_t d = config_.dim, begin = std::exchange(chunk, chunk + chunks);
    return modulations.narrow(1, begin * d, chunks * d);  // [B, chunks * D]
  };
  const at::Tensor patches = latents.unflatten(3, {columns, kPatch})
                                 .unflatten(2, {rows, kPatch})  // [B, C, rows, patch, columns, patch]
                                 .permute({0, 2, 4, 3, 5, 1})   // [B, rows, columns, patch, patch, C]
                                 .flatten(3)
                                 .flatten(1, 2);                 // [B, N, patch * patch * C]
  at::Tensor x = with_pads(x_embedder_(patches), x_pad_token_);  // [B, padded N, D]
  const nn::Rotation image = image_rotation(rows, columns, context.size(1), x.device());
  for (const auto& block : noise_refiner_) x = block(x, image, next_modulation(ZImageBlock::kChunks));

  const nn::Rotation text = text_rotation(context.size(1), x.device());
  const nn::Rotation both{.cos = at::cat({image.cos, text.cos}), .sin = at::cat({image.sin, text.sin})};
  x = at::cat({x, context}, 1);  // [B, padded N + T, D]
  for (const auto& block : layers_) x = block(x, both, next_modulation(ZImageBlock::kChunks));

  const at::Tensor scale = next_modulation(1);  // [B, D]
  const at::Tensor normal = nn::layer_norm(x.narrow(1, 0, image_tokens), kFinalNormEps);
  return final_linear_(normal * (1 + scale).unsqueeze(1))  // [B, N, patch * patch * C]
      .unflatten(2, {kPatch, kPatch, config_.in_channels})
      .unflatten(1, {rows, columns})  // [B, rows, columns, patch, patch, C]
      .permute({0, 5, 1, 3, 2, 4})    // [B, C, rows, patch, columns, patch]
      .flatten(4)
      .flatten(2, 3)  // [B, C, h, w]
      .contiguous();
}

}  // namespace diffused::models
