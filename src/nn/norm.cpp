#include "nn/norm.h"

#include <ATen/ATen.h>

#include "kernels/group_norm_avx512.h"
#include "kernels/self_test.h"
#include "kernels/tokens_avx512.h"
#include "nn/activation.h"
#include "nn/each_row.h"

namespace diffused::nn {

at::Tensor layer_norm(const at::Tensor& x, double eps) {
  return at::layer_norm(x, {x.size(-1)}, {}, {}, eps);
}

namespace {

// Each row of x by itself: changed(row, weights) where its LoRAs change the norm, plain(row) where they do
// not.
template <typename Plain, typename Changed>
at::Tensor each_norm_row(const LoraLayers& layers, const NormWeights& weights, const at::Tensor& x,
                         const Plain& plain, const Changed& changed) {
  return each_lora_row(x.size(0), [&](std::int64_t index) {
    const at::Tensor row = x.narrow(0, index, 1);
    return lora_changes(layers) ? changed(row, changed_norm(layers, weights)) : plain(row);
  });
}

}  // namespace

LayerNorm::LayerNorm(const weights::Scope& scope, std::int64_t size, double eps)
    : weight_(scope.tensor("weight", {size})),
      bias_(scope.tensor("bias", {size})),
      eps_(eps),
      layers_{.names = {scope.changeable_layer()}} {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  if (lora_changes(layers_)) {
    return each_norm_row(
        layers_, {weight_, bias_}, x, [&](const at::Tensor& row) { return (*this)(row); },
        [&](const at::Tensor& row, const NormWeights& own) {
          return at::layer_norm(row, {weight_.size(0)}, own.weight, own.bias, eps_);
        });
  }
  if (kernels::tokens_take({x, weight_, bias_}) && kernels::agree(x.scalar_type()))
    return kernels::layer_norm(x, weight_, bias_, eps_);
  return at::layer_norm(x, {weight_.size(0)}, weight_, bias_, eps_);
}

RmsNorm::RmsNorm(const weights::Scope& scope, std::int64_t size, double eps)
    : weight_(scope.tensor("weight", {size})), eps_(eps) {}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  if (kernels::tokens_take({x, weight_}) && kernels::agree(x.scalar_type()))
    return kernels::rms_norm(x, weight_, eps_);
  const at::Tensor scale = at::rsqrt(x.to(at::kFloat).square().mean(-1, /*keepdim=*/true) + eps_);
  // The product is rounded to the weight's dtype before the weight is applied, as the originals do.
  return (x * scale).to(weight_.scalar_type()) * weight_;
}

at::Tensor RmsNorm::rotated(const at::Tensor& x, const Rotation& rotation) const {
  if (kernels::tokens_take({x, weight_}) && kernels::agree(x.scalar_type()))
    return kernels::rms_norm_rotated(x, weight_, eps_, rotation);
  return rotate((*this)(x), rotation);
}

GroupNorm::GroupNorm(const weights::Scope& scope, std::int64_t groups, std::int64_t channels, double eps)
    : groups_(groups),
      weight_(scope.tensor("weight", {channels})),
      bias_(scope.tensor("bias", {channels})),
      eps_(eps),
      layers_{.names = {scope.changeable_layer()}} {}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
  if (!changed()) return plain(x);
  return each_norm_row(
      layers_, {weight_, bias_}, x, [&](const at::Tensor& row) { return plain(row); },
      [&](const at::Tensor& row, const NormWeights& own) {
        return at::group_norm(row, groups_, own.weight, own.bias, eps_);
      });
}

at::Tensor GroupNorm::plain(const at::Tensor& x) const {
  if (kernels::group_norm_takes(x) && kernels::agree(x.scalar_type())) {
    return kernels::group_norm(x, weight_, bias_, {.groups = groups_, .eps = eps_, .silu = false});
  }
  return each_row(x,
                  [&](const at::Tensor& row) { return at::group_norm(row, groups_, weight_, bias_, eps_); });
}

at::Tensor GroupNorm::with_silu(const at::Tensor& x) const {
  if (changed()) {
    return each_norm_row(
        layers_, {weight_, bias_}, x, [&](const at::Tensor& row) { return with_silu(row); },
        [&](const at::Tensor& row, const NormWeights& own) {
          return activate(Activation::silu, at::group_norm(row, groups_, own.weight, own.bias, eps_));
        });
  }
  if (kernels::group_norm_takes(x) && kernels::agree(x.scalar_type())) {
    return kernels::group_norm(x, weight_, bias_, {.groups = groups_, .eps = eps_, .silu = true});
  }
  return activate(Activation::silu, (*this)(x));
}

std::optional<kernels::GroupScaling> GroupNorm::scaling(const at::Tensor& x) const {
  if (!kernels::group_norm_takes(x) || !kernels::agree(x.scalar_type())) return std::nullopt;
  return kernels::group_scaling(x, weight_, bias_, groups_, eps_);
}

}  // namespace diffused::nn
