#include "nn/rotary.h"

#include <ATen/ATen.h>

#include <vector>

namespace diffused::nn {

Rotation rotation_of(const at::Tensor& positions, std::span<const std::int64_t> axis_sizes, double base) {
  std::vector<at::Tensor> angles;
  for (std::size_t axis = 0; axis < axis_sizes.size(); ++axis) {
    const std::int64_t size = axis_sizes[axis];
    const at::Tensor exponents = at::arange(0, size, 2, positions.options().dtype(at::kDouble)) / size;
    const at::Tensor frequencies = 1.0 / at::pow(base, exponents);  // [size / 2]
    const at::Tensor along = positions.select(1, static_cast<std::int64_t>(axis)).to(at::kDouble);
    angles.push_back(at::outer(along, frequencies));  // [L, size / 2]
  }
  return kernels::rotation_by(at::cat(angles, 1));  // [L, D / 2]
}

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor swapped = wide.unflatten(-1, {-1, 2}).flip(-1).flatten(-2);  // [B, H, L, D]
  return (wide * rotation.cos + swapped * rotation.sin).to(x.scalar_type());
}

}  // namespace diffused::nn
