#include "nn/modulation.h"

#include <ATen/ATen.h>

#include "kernels/self_test.h"
#include "kernels/tokens_avx512.h"
#include "nn/norm.h"

namespace diffused::nn {

at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                                double eps) {
  if (kernels::tokens_take({x, shift, scale}) && kernels::agree(x.scalar_type())) {
    return kernels::modulated_layer_norm(x, shift, scale, eps);
  }
  return layer_norm(x, eps) * (1 + scale).unsqueeze(1) + shift.unsqueeze(1);
}

at::Tensor add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  if (kernels::tokens_take({x, gate, y}) && kernels::agree(x.scalar_type()))
    return kernels::add_gated(x, gate, y);
  return x + gate.unsqueeze(1) * y;
}

}  // namespace diffused::nn
