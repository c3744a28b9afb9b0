// Linears whose results gate each other: GEGLU and its kin (arXiv 2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "nn/activation.h"
#include "nn/linear.h"
#include "weights/scope.h"

namespace diffused::nn {

// value * activation(gate), both linears of one input; in one pass where a kernel can.
class GatedLinear {
 public:
  // Both in one layer, values before gates: Diffusers' GEGLU. Reads `weight` [2 out, in] and `bias` [2 out].
  GatedLinear(const weights::Scope& scope, std::int64_t in, std::int64_t out, Activation activation,
              LinearFormat format = LinearFormat::plain);

  // In a layer each, without bias: T5's. Reads `VALUE.weight` and `GATE.weight`, both [out, in].
  GatedLinear(const weights::Scope& scope, std::string_view value, std::string_view gate, std::int64_t in,
              std::int64_t out, Activation activation, LinearFormat format = LinearFormat::plain);

  at::Tensor operator()(const at::Tensor& x) const;  // [B, .., in] → [B, .., out]

 private:
  // weight: [2 out, in], bias: [2 out] or undefined, values before gates.
  GatedLinear(const at::Tensor& weight, const at::Tensor& bias, Activation activation, LinearFormat format,
              LoraLayers layers);

  bool fused_;     // then linear_ has values and gates in turns
  Linear linear_;  // without LoRAs
  Activation activation_;
  LoraLayers layers_;
};

}  // namespace diffused::nn
