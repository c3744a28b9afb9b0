// A layer's weight and bias in the layout of packed_matrix.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::kernels {

// As large as the original, which may be released. Immutable.
struct PackedWeight {
  // Copies, with all threads. weight: [out, in], float32 or bfloat16 of even width; bias: [out] or undefined.
  PackedWeight(const at::Tensor& weight, const at::Tensor& bias);

  std::int64_t in, out;
  at::Tensor values;  // [tiles, values of a tile] in the weight's dtype
  at::Tensor bias;    // [tiles * 64] float32
};

}  // namespace diffused::kernels
