// Source: huggingface/diffusers v0.42.1, src/diffusers/models/resnet.py (ResnetBlock2D),
// models/transformers/transformer_2d.py and models/attention.py (BasicTransformerBlock with layer norms). No
// dropout or masks; a text's keys and values are computed apart.
#include "models/unet_2d_blocks.h"

#include <ATen/ATen.h>

#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/gated_linear.h"

namespace diffused::models {
namespace {

constexpr double kTransformerGroupNormEps = 1e-6;
constexpr double kLayerNormEps = 1e-5;

// A linear of each pixel, or the convolution with a kernel of one pixel that it is.
nn::Linear pixel_linear(const weights::Scope& scope, std::int64_t channels, bool as_convolution) {
  if (!as_convolution) return {scope, channels, channels};
  const at::Tensor weight = scope.tensor("weight", {channels, channels, 1, 1}).flatten(1);
  return {weight,
          scope.tensor("bias", {channels}),
          nn::LinearFormat::plain,
          {.names = {scope.changeable_layer()}}};
}

}  // namespace

UnetResnet::UnetResnet(const weights::Scope& scope, const Shape& shape)
    : channels_(shape.out),
      norm1_(scope / "norm1", shape.groups, shape.in, shape.eps),
      conv1_(scope / "conv1", shape.in, shape.out, 3, 1, 1),
      time_emb_proj_(scope / "time_emb_proj", shape.time_size, shape.out),
      norm2_(scope / "norm2", shape.groups, shape.out, shape.eps),
      conv2_(scope / "conv2", shape.out, shape.out, 3, 1, 1) {
  if (shape.in != shape.out) conv_shortcut_.emplace(scope / "conv_shortcut", shape.in, shape.out, 1);
}

at::Tensor UnetResnet::operator()(const at::Tensor& x, const at::Tensor& time_shift) const {
  const at::Tensor y = conv1_.of_silu(norm1_, x, {.shift = time_shift});  // [B, out, h, w]
  return conv2_.of_silu(norm2_, y, {.picture = conv_shortcut_ ? (*conv_shortcut_)(x) : x});
}

// Self-attention, attention to the text and a perceptron, each of a normalised copy and added back.
class BasicTransformerBlock {
 public:
  BasicTransformerBlock(const weights::Scope& scope, const PixelTransformer::Shape& shape)
      : channels_(shape.channels),
        heads_(shape.heads),
        norm1_(scope / "norm1", shape.channels, kLayerNormEps),
        qkv_(scope / "attn1", {"to_q", "to_k", "to_v"}, shape.channels, shape.channels, /*bias=*/false,
             shape.format),
        to_out_(scope / "attn1.to_out.0", shape.channels, shape.channels, /*bias=*/true, shape.format),
        norm2_(scope / "norm2", shape.channels, kLayerNormEps),
        text_q_(scope / "attn2.to_q", shape.channels, shape.channels, /*bias=*/false, shape.format),
        text_kv_(scope / "attn2", {"to_k", "to_v"}, shape.text_size, shape.channels, /*bias=*/false),
        text_to_out_(scope / "attn2.to_out.0", shape.channels, shape.channels, /*bias=*/true, shape.format),
        norm3_(scope / "norm3", shape.channels, kLayerNormEps),
        proj_in_(scope / "ff.net.0.proj", shape.channels, 4 * shape.channels, nn::Activation::gelu,
                 shape.format),
        proj_out_(scope / "ff.net.2", 4 * shape.channels, shape.channels, /*bias=*/true, shape.format) {}

  at::Tensor keys_values(const at::Tensor& text) const { return text_kv_(text); }  // [B, T, 2 C]
  std::int64_t context_width() const { return 2 * channels_; }

  // x: [B, N, C]; keys_values: [B, T, 2 C] → as x
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& keys_values) const {
    const auto qkv = qkv_(norm1_(x)).chunk(3, -1);  // 3 of [B, N, C]
    const at::Tensor attended = to_out_.add_to(x, attend(qkv[0], qkv[1], qkv[2]));
    const auto kv = keys_values.chunk(2, -1);  // 2 of [B, T, C]
    const at::Tensor informed =
        text_to_out_.add_to(attended, attend(text_q_(norm2_(attended)), kv[0], kv[1]));  // [B, N, C]
    return proj_out_.add_to(informed, proj_in_(norm3_(informed)));
  }

 private:
  // [B, N, C], twice [B, L, C] → [B, N, C]
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    return nn::merge_heads(
        nn::attention(nn::split_heads(q, heads_), nn::split_heads(k, heads_), nn::split_heads(v, heads_)));
  }

  std::int64_t channels_, heads_;
  nn::LayerNorm norm1_;
  nn::Linear qkv_;
  nn::Linear to_out_;
  nn::LayerNorm norm2_;
  nn::Linear text_q_;
  nn::Linear text_kv_;
  nn::Linear text_to_out_;
  nn::LayerNorm norm3_;
  nn::GatedLinear proj_in_;
  nn::Linear proj_out_;
};

PixelTransformer::PixelTransformer(const weights::Scope& scope, const Shape& shape)
    : norm_(scope / "norm", shape.groups, shape.channels, kTransformerGroupNormEps),
      proj_in_(pixel_linear(scope / "proj_in", shape.channels, !shape.linear_projection)),
      proj_out_(pixel_linear(scope / "proj_out", shape.channels, !shape.linear_projection)) {
  for (int i = 0; i < shape.depth; ++i) blocks_.emplace_back(scope / "transformer_blocks" / i, shape);
}

PixelTransformer::~PixelTransformer() = default;
PixelTransformer::PixelTransformer(PixelTransformer&&) noexcept = default;

at::Tensor PixelTransformer::keys_values(const at::Tensor& text) const {
  std::vector<at::Tensor> parts;
  for (const auto& block : blocks_) parts.push_back(block.keys_values(text));
  return at::cat(parts, -1);  // [B, T, context_width()]
}

std::int64_t PixelTransformer::context_width() const {
  std::int64_t width = 0;
  for (const auto& block : blocks_) width += block.context_width();
  return width;
}

at::Tensor PixelTransformer::operator()(const at::Tensor& x, const at::Tensor& keys_values) const {
  const std::int64_t h = x.size(2), w = x.size(3);
  // In channels_last memory pixels are tokens as they lie.
  const auto as_tokens = [](const at::Tensor& t) { return t.permute({0, 2, 3, 1}).flatten(1, 2); };
  at::Tensor tokens = proj_in_(as_tokens(norm_(x)));  // [B, h * w, C]
  SideBySide contexts(keys_values);
  for (const auto& block : blocks_) tokens = block(tokens, contexts.next(block.context_width()));
  return proj_out_.add_to(as_tokens(x), tokens).unflatten(1, {h, w}).permute({0, 3, 1, 2});  // [B, C, h, w]
}

}  // namespace diffused::models
