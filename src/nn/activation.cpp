#include "nn/activation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "nn/each_row.h"

namespace diffused::nn {
namespace {

at::Tensor activate_row(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::quick_gelu:
      return x * at::sigmoid(x * 1.702);
  }
  CHECK_WITH(false, "an activation outside its enumeration");
}

}  // namespace

std::optional<Activation> activation_named(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Activation>, 7> kNames{{
      {"relu", Activation::relu},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"gelu", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"quick_gelu", Activation::quick_gelu},
  }};
  const auto* found = std::ranges::find(kNames, name, [](const auto& entry) { return entry.first; });
  if (found == kNames.end()) return std::nullopt;
  return found->second;
}

at::Tensor activate(Activation activation, const at::Tensor& x) {
  // ATen computes what is left over at the end of a thread's share in another way, with other last bits.
  // Where the shares end depends on the size of the tensor.
  return each_row(x, [&](const at::Tensor& row) { return activate_row(activation, row); });
}

}  // namespace diffused::nn
