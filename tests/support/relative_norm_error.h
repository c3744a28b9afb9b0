// How far a result is from what it should be, over all values.
#pragma once

#include <ATen/ATen.h>

namespace diffused::test {

inline at::Tensor exact(const at::Tensor& x) { return x.to(at::kDouble); }

// The norm of the difference divided by the norm of `expected`, in float64.
inline double relative_norm_error(const at::Tensor& x, const at::Tensor& expected) {
  return ((exact(x) - exact(expected)).norm() / exact(expected).norm()).item<double>();
}

}  // namespace diffused::test
