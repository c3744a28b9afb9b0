// GroupNorm, and SiLU after it, of images in channels_last memory on processors with AVX-512.
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::kernels {

struct GroupNormOptions {
  std::int64_t groups;  // divides the channels
  double eps;
  bool silu;  // x sigmoid(x) of the result
};

// Whether `group_norm` takes x [B, C, H, W] on this machine: on the CPU, channels_last, C a multiple of 16,
// float32 or (where AVX512-BF16 is) bfloat16.
bool group_norm_takes(const at::Tensor& x);

// What a group norm comes to, once the sums over x are known: factors x + offsets. Both [B, C] float32.
struct GroupScaling {
  at::Tensor factors, offsets;
};

// The sums over x [B, C, H, W], of the group norm below. weight, bias: [C], of x's dtype.
GroupScaling group_scaling(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           std::int64_t groups, double eps);

// (x - mean) / sqrt(variance + eps) weight + bias, mean and variance over the pixels and channels of a group
// of an image. x: [B, C, H, W]; weight, bias: [C], of x's dtype. Returns the same shape and memory order. All
// in float32, rounded once; an image's result depends on that image alone, not on the batch or the number of
// threads.
at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const GroupNormOptions& options);

}  // namespace diffused::kernels
