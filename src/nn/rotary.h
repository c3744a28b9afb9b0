// Rotary position embedding (arXiv 2104.09864): neighbouring values of a head, taken as a point of a plane,
// are turned by an angle that grows with the token's position.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "kernels/rotation.h"

namespace diffused::nn {

using kernels::Rotation;

// How exactly angles are known before their sines and cosines are taken.
enum class Angles {
  exact,    // in float64, as those of Diffusers' FluxPosEmbed
  rounded,  // in float64, then rounded to float32, as those of Diffusers' RopeEmbedder
  narrow,   // in float32 throughout, as those of Diffusers' QwenEmbedRope
};

// The rotation by positions along several axes: axis a turns the next axis_sizes[a] values of a head, pair i
// of them by position * base^(-2 i / axis_sizes[a]). positions: [L, axes], any numbers; axis_sizes: even, one
// for each axis; D is their sum.
Rotation rotation_of(const at::Tensor& positions, std::span<const std::int64_t> axis_sizes, double base,
                     Angles angles = Angles::exact);

// x turned: [B, H, L, D], any strides → the same shape in x's dtype. Computed in float32.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

// The rotation of language models, whose pairs are value i of a head's first half and value i of its second:
// by positions 0, 1, … `length` along one axis, made for rotate_halves(). Angles are float32 throughout, as
// those of transformers.
Rotation rotation_of_halves(std::int64_t length, std::int64_t head_dim, double base, at::Device device);

// The same by positions along several axes, each of which turns axis_size / 2 of the pairs. positions:
// [L, axes] float32.
Rotation rotation_of_halves(const at::Tensor& positions, std::int64_t axis_size, double base);

// As rotate(), by a rotation_of_halves().
at::Tensor rotate_halves(const at::Tensor& x, const Rotation& rotation);

}  // namespace diffused::nn
