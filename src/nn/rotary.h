// Rotary position embedding (arXiv 2104.09864): neighbouring values of a head, taken as a point of a plane,
// are turned by an angle that grows with the token's position.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "kernels/rotation.h"

namespace diffused::nn {

using kernels::Rotation;

// The rotation by positions along several axes: axis a turns the next axis_sizes[a] values of a head, pair i
// of them by position * base^(-2 i / axis_sizes[a]). positions: [L, axes], any numbers; axis_sizes: even, one
// for each axis; D is their sum. Angles are float64, as those of Diffusers' FluxPosEmbed.
Rotation rotation_of(const at::Tensor& positions, std::span<const std::int64_t> axis_sizes, double base);

// x turned: [B, H, L, D], any strides → the same shape in x's dtype. Computed in float32.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

}  // namespace diffused::nn
