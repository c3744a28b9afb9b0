#include "samplers/threshold.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/quantile.h>

namespace diffused::samplers {

at::Tensor threshold(const at::Tensor& clean, double ratio, double most) {
  const at::Tensor flat = clean.to(at::kFloat).flatten(1);  // [B, C * h * w]
  const at::Tensor limit = at::quantile(flat.abs(), ratio, 1).clamp(1, most).unsqueeze(1);
  return (at::minimum(at::maximum(flat, -limit), limit) / limit).view(clean.sizes()).to(clean.dtype());
}

}  // namespace diffused::samplers
