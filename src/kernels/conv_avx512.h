// Convolution of images in channels_last memory on processors with AVX-512, with what stands round it in the
// autoencoder in the same pass: GroupNorm and SiLU before, doubling of the picture before, addition after.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "kernels/group_norm_avx512.h"
#include "kernels/packed_weight.h"

namespace diffused::kernels {

enum class Doubling {
  none,
  nearest,  // the convolution sees each pixel of its input twice in both directions
};

struct ConvOptions {
  std::optional<GroupScaling> silu_of = {};  // what is convolved is silu(factors x + offsets), not x
  at::Tensor shift = {};                     // [B, out], added to each pixel of an image; may be undefined
  at::Tensor added = {};                     // of the result's shape, channels_last; may be undefined
};

// Stride 1, zeros around, so that the result is as large as what is convolved. Immutable; keeps nothing of
// the original weight.
class PackedConv {
 public:
  // Whether this machine can compute with this weight [out, in, k, k]: on the CPU, k 1 or 3, `in` a multiple
  // of 16, float32, or bfloat16 where AVX512-BF16 is there.
  static bool takes(const at::Tensor& weight);

  // Copies. bias: [out]. Of a doubled picture k must be 3. There each result pixel sees 2 x 2 pixels of the
  // input, in one of four arrangements, so the weights of pixels that are the same are added up beforehand:
  // 4 / 9 of the multiplications.
  PackedConv(const at::Tensor& weight, const at::Tensor& bias, Doubling doubling);

  // Whether x can be convolved: [B, in, H, W], channels_last, in the weight's dtype, on the CPU.
  bool takes_input(const at::Tensor& x) const;

  // x → [B, out, H, W], or [B, out, 2H, 2W], channels_last. Sums, bias and addition are in float32 and
  // rounded once. A pixel's result depends on its image alone: not on the batch or the number of threads.
  at::Tensor operator()(const at::Tensor& x, const ConvOptions& options) const;

 private:
  std::int64_t in_, kernel_;  // of the packed weights: 2 for a doubled picture
  Doubling doubling_;
  std::vector<PackedWeight> phases_;  // one; for a doubled picture of even/odd rows x even/odd columns
};

}  // namespace diffused::kernels
