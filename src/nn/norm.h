// Normalisations. Sums run in float32 whatever the dtype of the data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "nn/lora.h"
#include "nn/rotary.h"
#include "weights/scope.h"

namespace diffused::kernels {
struct GroupScaling;
}

namespace diffused::nn {

// (x - mean) / sqrt(variance + eps) over the last dimension, without scale or shift.
at::Tensor layer_norm(const at::Tensor& x, double eps);

class LayerNorm {
 public:
  // Reads `weight` and `bias`, both [size].
  LayerNorm(const weights::Scope& scope, std::int64_t size, double eps);
  at::Tensor operator()(const at::Tensor& x) const;  // [.., size] → the same

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  double eps_;
  LoraLayers layers_;
};

// x / sqrt(mean(x²) + eps) * weight over the last dimension: T5's layer norm and the QK norm of SD3.5 and
// FLUX.
class RmsNorm {
 public:
  // Reads `weight` [size].
  RmsNorm(const weights::Scope& scope, std::int64_t size, double eps);
  at::Tensor operator()(const at::Tensor& x) const;  // [.., size] → the same
  // The above, then rotate(): one pass over the heads for a kernel that wants to be. x: [B, H, L, size] → the
  // same.
  at::Tensor rotated(const at::Tensor& x, const Rotation& rotation) const;

 private:
  at::Tensor weight_;
  double eps_;
};

class GroupNorm {
 public:
  // Reads `weight` and `bias`, both [channels]; `groups` divides `channels`.
  GroupNorm(const weights::Scope& scope, std::int64_t groups, std::int64_t channels, double eps);
  at::Tensor operator()(const at::Tensor& x) const;  // [B, channels, ..] → the same
  // SiLU of the above, one pass over the pixels for a kernel that wants to be.
  at::Tensor with_silu(const at::Tensor& x) const;
  // What the norm of x multiplies and adds, for a kernel that applies it to pixels on their way; empty where
  // no kernel can.
  std::optional<kernels::GroupScaling> scaling(const at::Tensor& x) const;
  // Whether any row's LoRAs change it now; scaling() knows of none.
  bool changed() const { return lora_changes(layers_); }

 private:
  at::Tensor plain(const at::Tensor& x) const;

  std::int64_t groups_;
  at::Tensor weight_;
  at::Tensor bias_;
  double eps_;
  LoraLayers layers_;
};

}  // namespace diffused::nn
