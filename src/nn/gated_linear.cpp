#include "nn/gated_linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "kernels/fused_linear.h"

namespace diffused::nn {
namespace {

using kernels::kPairColumns;

// [2 out, ..], values before gates → the same, kPairColumns values and as many gates in turns.
at::Tensor in_turns(const at::Tensor& rows) {
  return rows.unflatten(0, {2, -1, kPairColumns}).transpose(0, 1).flatten(0, 2);
}

// The reverse, of results: [.., 2 out].
at::Tensor values_first(const at::Tensor& y) {
  return y.unflatten(-1, {-1, 2, kPairColumns}).transpose(-3, -2).flatten(-3);
}

bool can_fuse(const at::Tensor& weight, LinearFormat format) {
  return weight.size(0) % (2 * kPairColumns) == 0 && Linear::fuses(weight, format);
}

}  // namespace

GatedLinear::GatedLinear(const at::Tensor& weight, const at::Tensor& bias, Activation activation,
                         LinearFormat format, LoraLayers layers)
    : fused_(can_fuse(weight, format)),
      linear_(fused_ ? in_turns(weight) : weight, fused_ && bias.defined() ? in_turns(bias) : bias, format),
      activation_(activation),
      layers_(std::move(layers)) {
  layers_.bias = bias;
}

// Braces, as they read the weight before the bias: a report names the first tensor that is wrong.
GatedLinear::GatedLinear(const weights::Scope& scope, std::int64_t in, std::int64_t out,
                         Activation activation, LinearFormat format)
    : GatedLinear{scope.tensor("weight", {2 * out, in}), scope.tensor("bias", {2 * out}), activation, format,
                  LoraLayers{.names = {scope.changeable_layer()}}} {}

GatedLinear::GatedLinear(const weights::Scope& scope, std::string_view value, std::string_view gate,
                         std::int64_t in, std::int64_t out, Activation activation, LinearFormat format)
    : GatedLinear{
          at::cat({(scope / value).tensor("weight", {out, in}), (scope / gate).tensor("weight", {out, in})}),
          at::Tensor(), activation, format,
          LoraLayers{.names = {(scope / value).changeable_layer(), (scope / gate).changeable_layer()}}} {}

at::Tensor GatedLinear::operator()(const at::Tensor& x) const {
  if (fused_ && !lora_changes(layers_)) return linear_.pairs(x, activation_);
  if (fused_ && x.size(0) > 1)
    return each_lora_row(x.size(0), [&](auto row) { return (*this)(x.narrow(0, row, 1)); });
  const at::Tensor y = linear_(x);
  const auto value_gate =
      add_lora(layers_, x, fused_ ? values_first(y) : y).chunk(2, -1);  // 2 of [B, .., out]
  return value_gate[0] * activate(activation_, value_gate[1]);
}

}  // namespace diffused::nn
