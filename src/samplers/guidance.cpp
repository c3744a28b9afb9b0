#include "samplers/guidance.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/std.h>
#include <ATen/ops/where.h>

#include <numeric>
#include <vector>

namespace diffused::samplers {

at::Tensor guide(const at::Tensor& unconditional, const at::Tensor& conditional, double scale) {
  return unconditional + scale * (conditional - unconditional);
}

at::Tensor guide_further(const at::Tensor& unconditional, const at::Tensor& conditional, double scale) {
  return conditional + scale * (conditional - unconditional);
}

at::Tensor with_norm_of(const at::Tensor& guided, const at::Tensor& conditional) {
  const auto norm = [](const at::Tensor& x) {
    return at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true);
  };
  return guided * (norm(conditional) / norm(guided));
}

at::Tensor with_norm_below(const at::Tensor& guided, const at::Tensor& conditional, double times) {
  if (times <= 0) return guided;
  const at::Tensor norm = at::linalg_vector_norm(guided),
                   norm_max = at::linalg_vector_norm(conditional) * times;
  return at::where(norm > norm_max, guided * (norm_max / norm), guided);
}

at::Tensor rescaled(const at::Tensor& guided, const at::Tensor& conditional, double rescale) {
  if (rescale <= 0) return guided;
  std::vector<std::int64_t> dims(static_cast<std::size_t>(guided.dim() - 1));
  std::iota(dims.begin(), dims.end(), 1);
  const auto deviation = [&](const at::Tensor& x) {
    return at::std(x, dims, /*unbiased=*/true, /*keepdim=*/true);
  };
  return rescale * (guided * (deviation(conditional) / deviation(guided))) + (1 - rescale) * guided;
}

}  // namespace diffused::samplers
