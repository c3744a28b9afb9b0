// What happens to each token between the linears, in one pass each, on processors with AVX-512.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/rotation.h"

namespace diffused::kernels {

// Whether the functions below take these tensors on this machine: on the CPU, of one dtype, float32 or (where
// AVX512-BF16 is) bfloat16, with stride 1 in the last dimension.
bool tokens_take(at::TensorList tensors);

// layer_norm(x) (1 + scale) + shift. x: [B, L, D]; shift, scale: [B, D] → [B, L, D], contiguous. All in
// float32, rounded once.
at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                                double eps);

// layer_norm(x) weight + bias. x: [.., D], at most four dimensions; weight, bias: [D] → as x, contiguous. All
// in float32, rounded once.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

// x + gate y. x, y: [B, L, D]; gate: [B, D] → [B, L, D], contiguous. In float32, rounded once.
at::Tensor add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y);

// x / sqrt(mean(x²) + eps) * weight over the last dimension. x: [.., D], at most four dimensions; weight:
// [D]. The quotient is rounded to the dtype before the weight is applied, as the originals do. Returns x's
// shape and order of dimensions in memory.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// rms_norm, rounded to the dtype as the originals do, then rotate() in float32, rounded once more. x: [B, H,
// L, D]; weight: [D]; the rotation is [L, D], contiguous. Returns as rms_norm.
at::Tensor rms_norm_rotated(const at::Tensor& x, const at::Tensor& weight, double eps,
                            const Rotation& rotation);

}  // namespace diffused::kernels
