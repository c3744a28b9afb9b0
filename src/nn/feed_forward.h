// The two-layer perceptron of Diffusers' transformers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "nn/activation.h"
#include "nn/linear.h"
#include "weights/scope.h"

namespace diffused::nn {

// Diffusers' FeedForward with activation_fn "gelu-approximate": tensors `net.0.proj` [4 size, size], `net.2`
// [size, 4 size].
class FeedForward {
 public:
  FeedForward(const weights::Scope& scope, std::int64_t size, LinearFormat format = LinearFormat::plain);
  // sum + gate y, as Linear::add_to(). x: [B, .., size] → the same
  at::Tensor add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& gate) const;

 private:
  Linear proj_in_;
  Linear proj_out_;
};

}  // namespace diffused::nn
