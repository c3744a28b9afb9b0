// What UNet2DConditionModel is built of: residual blocks that know the time, and transformers over the pixels
// of a picture. Rows of a batch are independent.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::models {

// Diffusers' ResnetBlock2D with a time embedding and time_embedding_norm "default".
class UnetResnet {
 public:
  struct Shape {
    std::int64_t in = 0, out = 0;  // channels
    std::int64_t time_size = 0;    // of the time embedding
    std::int64_t groups = 0;
    double eps = 0;
  };

  UnetResnet(const weights::Scope& scope, const Shape& shape);

  // What the block adds to each pixel: of SiLU of the time embedding, [R, time_size] → [R, out].
  at::Tensor time_shift(const at::Tensor& conditioning) const { return time_emb_proj_(conditioning); }
  std::int64_t channels() const { return channels_; }  // out

  // x: [B, in, h, w]; time_shift: [B, out] → [B, out, h, w]
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& time_shift) const;

 private:
  std::int64_t channels_;
  nn::GroupNorm norm1_;
  nn::Conv2d conv1_;
  nn::Linear time_emb_proj_;
  nn::GroupNorm norm2_;
  nn::Conv2d conv2_;
  std::optional<nn::Conv2d> conv_shortcut_;
};

class BasicTransformerBlock;

// Diffusers' Transformer2DModel: the pixels as tokens, through blocks of self-attention, attention to the
// text, and a gated perceptron; added back.
class PixelTransformer {
 public:
  struct Shape {
    std::int64_t channels = 0, heads = 0, depth = 0;
    std::int64_t text_size = 0;  // of a text token
    std::int64_t groups = 0;
    bool linear_projection = false;  // otherwise proj_in and proj_out are stored as convolutions
    nn::LinearFormat format = nn::LinearFormat::plain;
  };

  PixelTransformer(const weights::Scope& scope, const Shape& shape);
  ~PixelTransformer();
  PixelTransformer(PixelTransformer&&) noexcept;

  // Keys and values of all blocks for a text: [B, T, text_size] → [B, T, context_width()].
  at::Tensor keys_values(const at::Tensor& text) const;
  std::int64_t context_width() const;

  // x: [B, channels, h, w] → the same.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& keys_values) const;

 private:
  nn::GroupNorm norm_;
  nn::Linear proj_in_;
  std::vector<BasicTransformerBlock> blocks_;
  nn::Linear proj_out_;
};

// Vectors that lie side by side in the last dimension of a tensor, handed out from the left.
class SideBySide {
 public:
  explicit SideBySide(at::Tensor all) : all_(std::move(all)) {}
  at::Tensor next(std::int64_t width) {
    const at::Tensor part = all_.narrow(-1, begin_, width);
    begin_ += width;
    return part;
  }

 private:
  at::Tensor all_;
  std::int64_t begin_ = 0;
};

}  // namespace diffused::models
