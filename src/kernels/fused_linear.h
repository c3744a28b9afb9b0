// What the kernels' linears have in common: they may do more to their results in the same pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "kernels/activation.h"

namespace diffused::kernels {

// Done in this order. Tensors are of the weight's dtype.
struct LinearExtras {
  std::optional<Activation> activation = std::nullopt;
  at::Tensor gate = {};   // multiplied: [B, out], one for all tokens of a row of the batch; may be undefined
  at::Tensor added = {};  // added: [.., out], stride 1 in the last dimension; may be undefined
};

// Weights of values and gates have their rows in turns: so many values, so many gates.
inline constexpr std::int64_t kPairColumns = 32;

// y = x Wᵀ + b. Immutable.
class FusedLinear {
 public:
  virtual ~FusedLinear() = default;

  // x: [.., in] in the weight's dtype, on the CPU → [.., out], contiguous. Results and what follows are in
  // float32 and rounded once. A row's result depends on that row alone: not on the number of rows or threads.
  virtual at::Tensor operator()(const at::Tensor& x, const LinearExtras& extras) const = 0;

  // The same of a weight of values and gates: value * activation(gate), [.., out / 2].
  virtual at::Tensor pairs(const at::Tensor& x, Activation activation) const = 0;

  at::Tensor operator()(const at::Tensor& x) const { return (*this)(x, {}); }
};

// Memory for results: of x's shape, but for the last dimension.
at::Tensor linear_result(const at::Tensor& x, std::int64_t out);

// CHECKs that the extras fit the result.
void check_extras(const LinearExtras& extras, const at::Tensor& result);

}  // namespace diffused::kernels
