// What the denoisers of FLUX.1, FLUX.2 and Qwen-Image have in common: blocks with a stream each for image and
// text tokens that attend jointly.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "nn/feed_forward.h"
#include "nn/linear.h"
#include "nn/qkv_projection.h"
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::models {

// The rotation of `count` tokens from `first` on.
nn::Rotation tokens_of(const nn::Rotation& rotation, std::int64_t first, std::int64_t count);

// How the queries and keys of the two streams are turned.
struct DoubleStreamRotation {
  nn::Rotation image;
  std::optional<nn::Rotation> text = std::nullopt;  // empty: those of text are not
};

// Attention of text and image tokens together, text first. Queries and keys have norms.
class DoubleStreamAttention {
 public:
  // Reads the projections of both streams, with or without biases, as form.bias says. Throws
  // weights::LoadError.
  DoubleStreamAttention(const nn::QkvForm& form, const weights::Scope& scope);

  // x: [B, N, D]; c: [B, T, D] → the same two, before to_out and to_add_out.
  std::pair<at::Tensor, at::Tensor> operator()(const at::Tensor& x, const at::Tensor& c,
                                               const DoubleStreamRotation& rotation) const;
  const nn::Linear& to_out() const { return to_out_; }
  const nn::Linear& to_add_out() const { return to_add_out_; }

 private:
  nn::QkvProjection qkv_, added_qkv_;
  nn::Linear to_out_, to_add_out_;
};

// Where a block's tensors are, in its scope: those of the image's stream and those of the text's.
struct DoubleStreamNames {
  std::array<std::string_view, 2> modulations;
  std::array<std::string_view, 2> perceptrons;
};

// Of one block: twice shift, scale and gate, [B, DoubleStreamBlock::kChunks * D] each.
struct DoubleStreamModulation {
  at::Tensor image, text;
  // Of the image tokens from this one on, where those have another; undefined: as `image`.
  at::Tensor behind = {};
  std::int64_t first_behind = 0;
};

// A block whose modulations are linears of its own, of the conditioning.
class DoubleStreamBlock {
 public:
  static constexpr std::int64_t kChunks = 6;  // vectors of D that a stream's modulation holds

  DoubleStreamBlock(const nn::QkvForm& form, const DoubleStreamNames& names, const weights::Scope& scope);

  // conditioning: SiLU of the embedding, [R, D] → [R, kChunks * D]
  at::Tensor image_modulation(const at::Tensor& conditioning) const {
    return image_modulation_(conditioning);
  }
  at::Tensor text_modulation(const at::Tensor& conditioning) const { return text_modulation_(conditioning); }

  // x: image tokens [B, N, D]; c: text tokens [B, T, D]; both are replaced.
  void operator()(at::Tensor& x, at::Tensor& c, const DoubleStreamModulation& modulation,
                  const DoubleStreamRotation& rotation) const;

 private:
  double eps_;
  nn::Linear image_modulation_, text_modulation_;
  DoubleStreamAttention attn_;
  nn::FeedForward image_perceptron_, text_perceptron_;
};

}  // namespace diffused::models
