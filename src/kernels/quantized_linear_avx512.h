// y = f(x Wᵀ + b) in 8-bit integers on processors with AVX512-VNNI: twice the products of bfloat16 in the
// same time, and half the memory for the weight.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/fused_linear.h"

namespace diffused::kernels {

// Immutable; keeps nothing of the original weight.
//   weight   w ≈ scale q for each output channel, q in -127…127, scale = max |w| / 127
//   x        x ≈ step (u - zero) for each row, u in 0…255, over the row's own range and 0
// The sums of u q are exact integers; scale, zero, bias and function are applied in float32, rounded once.
class QuantizedLinear final : public FusedLinear {
 public:
  // Whether this machine can compute with this weight: on the CPU, [out, in], float32 or bfloat16, where
  // AVX512-VNNI is there.
  static bool takes(const at::Tensor& weight);

  // Copies. bias: [out] or undefined.
  QuantizedLinear(const at::Tensor& weight, const at::Tensor& bias);

  using FusedLinear::operator();
  at::Tensor operator()(const at::Tensor& x, const LinearExtras& extras) const override;
  at::Tensor pairs(const at::Tensor& x, Activation activation) const override;

 private:
  // Makes bytes of x and multiplies; finish<Number>(Dequantize) makes what gets the sums.
  template <typename MakeFinish>
  void multiply(const at::Tensor& x, const MakeFinish& finish) const;

  std::int64_t in_, out_;
  at::ScalarType dtype_;
  at::Tensor values_;  // [tiles, values of a tile] bytes
  at::Tensor scale_;   // these three: [tiles * 64], zero beyond out; float32
  at::Tensor sum_;     // of a channel's q; int32
  at::Tensor bias_;    // float32
};

}  // namespace diffused::kernels
