// How far a result is from what it should be.
#pragma once

#include <ATen/ATen.h>

namespace diffused::test {

// The norm of the difference divided by the norm of `expected`, in float64.
inline double relative_error(const at::Tensor& x, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kDouble);
  return ((x.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

}  // namespace diffused::test
