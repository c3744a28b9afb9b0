// softmax(scale * q kᵀ + bias) v on processors with AVX-512.
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::kernels {

// Whether `attention` below takes these tensors on this machine: on the CPU, all bfloat16 (where AVX512-BF16
// is there) or all float32, D a multiple of 32 with stride 1, at least one key.
bool attention_takes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// q: [B, H, Lq, D]; k, v: [B, H, Lk, D]; any strides but 1 in the last dimension; scale > 0.
// bias: undefined, or added to the scores: expands to [B, H, Lq, Lk], any float dtype.
// Returns [B, H, Lq, D] in the memory order [B, Lq, H, D]. Scores, softmax and sums are float32; bfloat16
// rounds the probabilities and the result. A query's result depends on that query, its head's keys and
// values, and its bias alone: not on the batch, the other queries or the number of threads.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                     const at::Tensor& bias);

}  // namespace diffused::kernels
