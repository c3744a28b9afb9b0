// The element-wise functions of the networks, under the names config files use.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "kernels/activation.h"

namespace diffused::nn {

using kernels::Activation;

// The activation transformers calls by this name: "quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh",
// "relu", "silu", "swish". Empty for any other.
std::optional<Activation> activation_named(std::string_view name);

// Any shape and dtype in, the same out.
at::Tensor activate(Activation activation, const at::Tensor& x);

}  // namespace diffused::nn
