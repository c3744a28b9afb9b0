// The element-wise functions that a product can be given on its way out.
#pragma once

namespace diffused::kernels {

enum class Activation {
  relu,
  silu,
  gelu,        // with the error function
  gelu_tanh,   // the tanh approximation
  quick_gelu,  // x * sigmoid(1.702 x), CLIP's
};

}  // namespace diffused::kernels
