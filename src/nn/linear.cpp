#include "nn/linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "base/check.h"
#include "base/give_way.h"
#include "kernels/linear_avx512.h"
#include "kernels/processor.h"
#include "kernels/quantized_linear_avx512.h"
#include "kernels/rows.h"
#include "kernels/self_test.h"
#include "nn/each_row.h"
#include "nn/modulation.h"

namespace diffused::nn {
namespace {

// Below about this many rows the CPU's matrix kernels change with the number of rows, and so do the last bits
// of each row; from here on they do not (tests/nn/batch_invariance_test.cpp).
constexpr std::int64_t kRowsMin = 16;

at::Tensor stacked(const weights::Scope& scope, const std::vector<std::string_view>& names,
                   std::string_view tensor, const std::vector<std::int64_t>& shape) {
  std::vector<at::Tensor> parts;
  for (const std::string_view name : names) parts.push_back((scope / name).tensor(tensor, shape));
  return at::cat(parts);
}

std::vector<std::string> layer_names(const weights::Scope& scope,
                                     const std::vector<std::string_view>& names) {
  std::vector<std::string> layers;
  for (const std::string_view name : names) layers.push_back((scope / name).changeable_layer());
  return layers;
}

bool should_pack_linear(const at::Tensor& weight) {
  return kernels::PackedLinear::takes(weight) && kernels::agree(weight.scalar_type());
}

}  // namespace

std::string why_no_int8(at::ScalarType dtype, at::Device device) {
  if (!device.is_cpu()) return "8-bit linears are for the CPU";
  if (!kernels::has_avx512_vnni() || !kernels::has_avx512_for(dtype)) {
    return dtype == at::kBFloat16 ? "8-bit linears in bf16 need a processor with AVX512-VNNI and AVX512-BF16"
                                  : "8-bit linears need a processor with AVX512-VNNI";
  }
  return kernels::agree(dtype) ? "" : "the kernels failed their test on this machine; the log names the one";
}

Linear::Linear(at::Tensor weight, at::Tensor bias, LinearFormat format, LoraLayers layers)
    : weight_(std::move(weight)), bias_(std::move(bias)), layers_(std::move(layers)) {
  layers_.bias = bias_;
  if (format == LinearFormat::int8) {
    CHECK(why_no_int8(weight_.scalar_type(), weight_.device()).empty());
    fused_ = std::make_shared<const kernels::QuantizedLinear>(weight_, bias_);
  } else if (should_pack_linear(weight_)) {
    fused_ = std::make_shared<const kernels::PackedLinear>(weight_, bias_);
  } else {
    return;
  }
  weight_.reset();
  bias_.reset();
}

// Braces, as they read the weight before the bias: a report names the first tensor that is wrong.
Linear::Linear(const weights::Scope& scope, std::int64_t in, std::int64_t out, bool bias, LinearFormat format)
    : Linear{scope.tensor("weight", {out, in}), bias ? scope.tensor("bias", {out}) : at::Tensor(), format,
             LoraLayers{.names = {scope.changeable_layer()}}} {}

Linear::Linear(const weights::Scope& scope, const std::vector<std::string_view>& names, std::int64_t in,
               std::int64_t out, bool bias, LinearFormat format)
    : Linear{stacked(scope, names, "weight", {out, in}),  // [names * out, in]
             bias ? stacked(scope, names, "bias", {out}) : at::Tensor(), format,
             LoraLayers{.names = layer_names(scope, names)}} {}

at::Tensor Linear::operator()(const at::Tensor& x) const { return add_lora(layers_, x, unchanged(x)); }

at::Tensor Linear::unchanged(const at::Tensor& x) const {
  if (x.is_cpu()) give_way();
  if (fused_) return (*fused_)(x);
  if (x.dim() > 2 && x.is_cpu() && x.size(0) > 1)
    return each_row(x, [&](const at::Tensor& row) { return unchanged(row); });
  // Always one matrix: for a view with gaps between its rows ATen adds the bias in another way.
  const std::int64_t rows = x.numel() / x.size(-1);
  at::Tensor matrix = x.reshape({rows, x.size(-1)});
  if (rows < kRowsMin && x.is_cpu()) matrix = at::constant_pad_nd(matrix, {0, 0, 0, kRowsMin - rows});
  auto shape = x.sizes().vec();
  shape.back() = weight_.size(0);
  return at::linear(matrix, weight_, bias_).narrow(0, 0, rows).view(shape);
}

at::Tensor Linear::operator()(const at::Tensor& x, Activation activation) const {
  if (x.is_cpu()) give_way();
  if (fused_ && !lora_changes(layers_)) return (*fused_)(x, {.activation = activation});
  if (fused_ && x.size(0) > 1)
    return each_lora_row(x.size(0), [&](auto row) { return (*this)(x.narrow(0, row, 1), activation); });
  return activate(activation, (*this)(x));
}

at::Tensor Linear::add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& gate) const {
  if (x.is_cpu()) give_way();
  if (fused_ && !lora_changes(layers_))
    return (*fused_)(x, {.gate = gate, .added = kernels::with_whole_rows(sum)});
  if (fused_ && x.size(0) > 1) {
    return each_lora_row(x.size(0), [&](auto row) {
      const auto only = [&](const at::Tensor& t) { return t.defined() ? t.narrow(0, row, 1) : t; };
      return add_to(only(sum), only(x), only(gate));
    });
  }
  const at::Tensor y = (*this)(x);
  return gate.defined() ? add_gated(sum, gate, y) : sum + y;
}

bool Linear::fuses(const at::Tensor& weight, LinearFormat format) {
  return format == LinearFormat::int8 || should_pack_linear(weight);
}

at::Tensor Linear::pairs(const at::Tensor& x, Activation activation) const {
  CHECK(fused_ && layers_.names.empty());
  give_way();
  return fused_->pairs(x, activation);
}

}  // namespace diffused::nn
