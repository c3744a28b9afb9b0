// Adaptive normalisation: what a conditioning vector does to each token of its row. Each is one pass over the
// tokens for a kernel that wants to be.
#pragma once

#include <ATen/core/Tensor.h>

namespace diffused::nn {

// layer_norm(x) (1 + scale) + shift. x: [B, L, D]; shift, scale: [B, D] → [B, L, D].
at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                                double eps);

// x + gate y. x, y: [B, L, D]; gate: [B, D] → [B, L, D].
at::Tensor add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y);

}  // namespace diffused::nn
