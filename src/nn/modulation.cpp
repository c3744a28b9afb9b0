#include "nn/modulation.h"

#include <ATen/ATen.h>

#include "nn/kernels/self_test.h"
#include "nn/kernels/tokens_avx512.h"
#include "nn/norm.h"

namespace diffused::nn {

at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                                double eps) {
  if (avx512::tokens_take({x, shift, scale}) && kernels_agree(x.scalar_type())) {
    return avx512::modulated_layer_norm(x, shift, scale, eps);
  }
  return layer_norm(x, eps) * (1 + scale).unsqueeze(1) + shift.unsqueeze(1);
}

at::Tensor add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  if (avx512::tokens_take({x, gate, y}) && kernels_agree(x.scalar_type()))
    return avx512::add_gated(x, gate, y);
  return x + gate.unsqueeze(1) * y;
}

}  // namespace diffused::nn
