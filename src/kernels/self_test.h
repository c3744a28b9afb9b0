// Whether our kernels compute on this machine what the plain path computes.
#pragma once

#include <c10/core/ScalarType.h>

#include <span>
#include <string_view>
#include <vector>

namespace diffused::kernels {

// What one kernel gave for a small problem, against the formula in float64: the norm of the difference
// divided by the norm of the expected result, and what it may be.
struct KernelCheck {
  std::string_view kernel;
  double error, error_max;
};

// Runs each kernel that this machine has for numbers of this type; empty when it has none. Takes
// milliseconds.
std::vector<KernelCheck> check_kernels(at::ScalarType dtype);

// Whether all errors are within their limits (NaN is not); logs each that is not as kernel_disabled.
bool all_agree(std::span<const KernelCheck> checks);

// all_agree(check_kernels(dtype)), found out at the first call and then known: whether the kernels for this
// type may be used. When not, every layer takes the plain path. float32 and bfloat16 only: false for others.
// Any thread.
bool agree(at::ScalarType dtype);

}  // namespace diffused::kernels
