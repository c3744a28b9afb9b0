#include "nn/rotary.h"

#include <ATen/ATen.h>

#include <vector>

namespace diffused::nn {

Rotation rotation_of(const at::Tensor& positions, std::span<const std::int64_t> axis_sizes, double base,
                     Angles precision) {
  const at::TensorOptions options =
      positions.options().dtype(precision == Angles::narrow ? at::kFloat : at::kDouble);
  std::vector<at::Tensor> angles;
  for (std::size_t axis = 0; axis < axis_sizes.size(); ++axis) {
    const std::int64_t size = axis_sizes[axis];
    const at::Tensor exponents = at::arange(0, size, 2, options) / size;
    const at::Tensor frequencies = 1.0 / at::pow(base, exponents);  // [size / 2]
    const at::Tensor along = positions.select(1, static_cast<std::int64_t>(axis)).to(options.dtype());
    angles.push_back(at::outer(along, frequencies));  // [L, size / 2]
  }
  const at::Tensor all = at::cat(angles, 1);  // [L, D / 2]
  return kernels::rotation_by(precision == Angles::exact ? all : all.to(at::kFloat).to(at::kDouble));
}

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor swapped = wide.unflatten(-1, {-1, 2}).flip(-1).flatten(-2);  // [B, H, L, D]
  return (wide * rotation.cos + swapped * rotation.sin).to(x.scalar_type());
}

Rotation rotation_of_halves(std::int64_t length, std::int64_t head_dim, double base, at::Device device) {
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  return rotation_of_halves(at::arange(length, options).unsqueeze(1), head_dim, base);
}

Rotation rotation_of_halves(const at::Tensor& positions, std::int64_t axis_size, double base) {
  const at::Tensor exponents = at::arange(0, axis_size, 2, positions.options()) / axis_size;
  const at::Tensor frequencies = 1.0 / at::pow(base, exponents);                 // [axis_size / 2]
  const at::Tensor angles = (positions.unsqueeze(-1) * frequencies).flatten(1);  // [L, D / 2]
  const at::Tensor cos = angles.cos(), sin = angles.sin();
  return {.cos = at::cat({cos, cos}, 1), .sin = at::cat({-sin, sin}, 1)};
}

at::Tensor rotate_halves(const at::Tensor& x, const Rotation& rotation) {
  const at::Tensor wide = x.to(at::kFloat);
  const auto halves = wide.chunk(2, -1);
  const at::Tensor swapped = at::cat({halves[1], halves[0]}, -1);  // [B, H, L, D]
  return (wide * rotation.cos + swapped * rotation.sin).to(x.scalar_type());
}

}  // namespace diffused::nn
