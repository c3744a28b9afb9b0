// y = f(x Wᵀ + b) on processors with AVX-512, the weight packed once.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/fused_linear.h"
#include "kernels/packed_weight.h"

namespace diffused::kernels {

// Immutable; keeps nothing of the original weight, which may be released.
class PackedLinear final : public FusedLinear {
 public:
  // Whether this machine can compute with this weight: on the CPU, float32, or bfloat16 of even width where
  // AVX512-BF16 is there.
  static bool takes(const at::Tensor& weight);

  // Copies. weight: [out, in]; bias: [out] or undefined. Packs with all threads.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias);

  using FusedLinear::operator();
  at::Tensor operator()(const at::Tensor& x, const LinearExtras& extras) const override;
  at::Tensor pairs(const at::Tensor& x, Activation activation) const override;

 private:
  void check(const at::Tensor& x) const;

  PackedWeight weight_;
};

}  // namespace diffused::kernels
