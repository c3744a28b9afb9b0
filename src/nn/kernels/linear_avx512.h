// y = f(x Wᵀ + b) on processors with AVX-512, the weight packed once.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "nn/activation.h"
#include "nn/kernels/packed_weight.h"

namespace diffused::nn::avx512 {

// Immutable; keeps nothing of the original weight, which may be released.
class PackedLinear {
 public:
  // Whether this machine can compute with this weight: on the CPU, float32, or bfloat16 of even width where
  // AVX512-BF16 is there.
  static bool takes(const at::Tensor& weight);

  // Whether the product can be given this function at no cost: all but the exact gelu.
  static bool fuses(Activation activation);

  // Copies. weight: [out, in]; bias: [out] or undefined. Packs with all threads.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias);

  // x: [.., in] in the weight's dtype, on the CPU → [.., out], contiguous. Sums, bias and function are in
  // float32 and rounded once. A row's result depends on that row alone: not on the number of rows or threads.
  at::Tensor operator()(const at::Tensor& x, std::optional<Activation> activation = std::nullopt) const;

 private:
  PackedWeight weight_;
};

}  // namespace diffused::nn::avx512
