// Convolution over images.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "nn/lora.h"
#include "nn/norm.h"
#include "weights/scope.h"

namespace diffused::kernels {
class PackedConv;
}

namespace diffused::nn {

// What is added to a convolution's result.
struct Addends {
  at::Tensor shift = {};    // [B, out], to each pixel; may be undefined
  at::Tensor picture = {};  // of the result's shape; may be undefined
};

class Conv2d {
 public:
  // Reads `weight` [out, in, kernel, kernel] and, where it has one, `bias` [out]. Works in channels_last
  // memory, in which CPU convolutions run fastest; results are channels_last too.
  Conv2d(const weights::Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel,
         std::int64_t stride = 1, std::int64_t padding = 0, bool bias = true);

  // For a weight stored in another shape. weight: [out, in, kernel, kernel]; bias: [out]; layers: where both
  // come from.
  Conv2d(at::Tensor weight, at::Tensor bias, std::int64_t stride, std::int64_t padding,
         LoraLayers layers = {});

  at::Tensor operator()(const at::Tensor& x) const;  // [B, in, H, W] → [B, out, H', W']

  // The convolution of SiLU(norm(x)), plus the addends; in one pass over the picture where a kernel can.
  at::Tensor of_silu(const GroupNorm& norm, const at::Tensor& x, const Addends& addends = {}) const;

 private:
  at::Tensor unchanged(const at::Tensor& x) const;

  at::Tensor weight_;  // undefined where packed_ holds it
  at::Tensor bias_;
  std::int64_t stride_;
  std::int64_t padding_;
  std::shared_ptr<const kernels::PackedConv> packed_;
  LoraLayers layers_;
};

// A 3 x 3 convolution, with zeros around, of the picture in which each pixel stands 2 x 2 times.
class DoublingConv2d {
 public:
  // Reads `weight` [out, in, 3, 3] and, where it has one, `bias` [out].
  DoublingConv2d(const weights::Scope& scope, std::int64_t in, std::int64_t out, bool bias = true);

  at::Tensor operator()(const at::Tensor& x) const;  // [B, in, H, W] → [B, out, 2H, 2W]

 private:
  at::Tensor unchanged(const at::Tensor& x) const;

  at::Tensor weight_;  // undefined where packed_ holds it
  at::Tensor bias_;
  std::shared_ptr<const kernels::PackedConv> packed_;
  LoraLayers layers_;
};

}  // namespace diffused::nn
