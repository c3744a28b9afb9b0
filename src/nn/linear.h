// START HERE for the room `nn`: the layers the networks are made of. A layer is a small immutable value that
// takes its tensors from a weights::Scope in its constructor (weights::LoadError when one is missing or
// misshapen) and maps tensors to tensors. What is fast on which machine is decided in this room, behind these
// signatures, never in models/. A batch row's result does not depend on the other rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nn/activation.h"
#include "nn/lora.h"
#include "weights/scope.h"

namespace diffused::kernels {
class FusedLinear;
}

namespace diffused::nn {

// How a linear keeps its weight.
enum class LinearFormat {
  plain,  // in the scope's dtype
  int8,  // 8 bits a weight, scaled for each output, multiplied with 8 bits a value, scaled for each row: half
         // the time and memory of bfloat16, about one percent of error
};

// Why this machine cannot multiply in LinearFormat::int8 in networks of this dtype; empty when it can.
std::string why_no_int8(at::ScalarType dtype, at::Device device);

// y = x Wᵀ + b over the last dimension.
class Linear {
 public:
  // Reads `weight` [out, in] and, if told so, `bias` [out].
  Linear(const weights::Scope& scope, std::int64_t in, std::int64_t out, bool bias = true,
         LinearFormat format = LinearFormat::plain);

  // Several linears of one input as one: the results of `names`, each [.., out], lie side by side in the last
  // dimension.
  Linear(const weights::Scope& scope, const std::vector<std::string_view>& names, std::int64_t in,
         std::int64_t out, bool bias = true, LinearFormat format = LinearFormat::plain);

  // x: [B, .., in] → [B, .., out], in the weights' dtype.
  at::Tensor operator()(const at::Tensor& x) const;
  // The same with a function applied to the result, in the same pass where a kernel can.
  at::Tensor operator()(const at::Tensor& x, Activation activation) const;
  // sum + gate y, in the same pass where a kernel can. sum: as y; gate: [B, out], for all tokens of a row of
  // the batch, or undefined for 1.
  at::Tensor add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& gate = {}) const;

  // For a weight stored in another shape, such as a patch convolution's. weight: [out, in]; bias: [out] or
  // undefined; layers: where both come from.
  Linear(at::Tensor weight, at::Tensor bias, LinearFormat format = LinearFormat::plain,
         LoraLayers layers = {});

  // For GatedLinear. Whether a linear of this weight can be asked for pairs().
  static bool fuses(const at::Tensor& weight, LinearFormat format);
  // value * activation(gate) of a weight whose rows are values and gates in turns of 32, without LoRAs.
  at::Tensor pairs(const at::Tensor& x, Activation activation) const;

 private:
  at::Tensor unchanged(const at::Tensor& x) const;

  at::Tensor weight_;  // undefined where fused_ holds it
  at::Tensor bias_;
  std::shared_ptr<const kernels::FusedLinear> fused_;
  LoraLayers layers_;
};

}  // namespace diffused::nn
