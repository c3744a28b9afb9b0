// The turn that rotary position embedding gives each token's values.
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::kernels {

// How far each value of a head is turned, token by token.
struct Rotation {
  at::Tensor cos;  // [L, D] float32: each angle's twice, for the two values of its pair
  at::Tensor sin;  // [L, D] float32: the same, the first of each pair negative
};

// angles: [L, D / 2] float64, one for each pair of values.
Rotation rotation_by(const at::Tensor& angles);

}  // namespace diffused::kernels
