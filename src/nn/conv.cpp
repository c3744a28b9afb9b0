#include "nn/conv.h"

#include <ATen/ATen.h>

#include <utility>

#include "kernels/conv_avx512.h"
#include "kernels/self_test.h"
#include "nn/each_row.h"

namespace diffused::nn {
namespace {

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

at::Tensor doubled(const at::Tensor& x) { return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}); }

bool should_pack_conv(const at::Tensor& weight) {
  return kernels::PackedConv::takes(weight) && kernels::agree(weight.scalar_type());
}

at::Tensor bias_of(const weights::Scope& scope, std::int64_t channels, bool there) {
  if (there) return scope.tensor("bias", {channels});
  return at::zeros({channels}, at::TensorOptions(scope.device()).dtype(scope.dtype()));
}

}  // namespace

Conv2d::Conv2d(const weights::Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel,
               std::int64_t stride, std::int64_t padding, bool bias)
    // In braces, so that the weight is asked for first.
    : Conv2d{scope.tensor("weight", {out, in, kernel, kernel}),
             bias_of(scope, out, bias),
             stride,
             padding,
             {.names = {scope.changeable_layer()}}} {}

Conv2d::Conv2d(at::Tensor weight, at::Tensor bias, std::int64_t stride, std::int64_t padding,
               LoraLayers layers)
    : weight_(std::move(weight)),
      bias_(std::move(bias)),
      stride_(stride),
      padding_(padding),
      layers_(std::move(layers)) {
  layers_.bias = bias_;
  if (stride == 1 && padding == weight_.size(2) / 2 && should_pack_conv(weight_)) {
    packed_ = std::make_shared<const kernels::PackedConv>(weight_, bias_, kernels::Doubling::none);
    weight_.reset();
  } else {
    weight_ = channels_last(weight_);
  }
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  return add_lora(layers_, x, unchanged(x), stride_, padding_);
}

at::Tensor Conv2d::unchanged(const at::Tensor& x) const {
  if (packed_) return (*packed_)(channels_last(x), {});
  return each_row(x,
                  [&](const at::Tensor& row) { return at::conv2d(row, weight_, bias_, stride_, padding_); });
}

at::Tensor Conv2d::of_silu(const GroupNorm& norm, const at::Tensor& x, const Addends& addends) const {
  const auto& [shift, picture] = addends;
  const bool changed = lora_changes(layers_) || norm.changed();
  if (packed_ && changed && x.size(0) > 1) {
    return each_lora_row(x.size(0), [&](auto row) {
      const auto only = [&](const at::Tensor& t) { return t.defined() ? t.narrow(0, row, 1) : t; };
      return of_silu(norm, only(x), {.shift = only(shift), .picture = only(picture)});
    });
  }
  if (packed_ && !changed) {
    const at::Tensor input = channels_last(x);
    if (const auto scaling = norm.scaling(input)) {
      return (*packed_)(input, {.silu_of = *scaling,
                                .shift = shift,
                                .added = picture.defined() ? channels_last(picture) : picture});
    }
  }
  at::Tensor y = (*this)(norm.with_silu(x));
  if (shift.defined()) y = y + shift.unsqueeze(-1).unsqueeze(-1);
  return picture.defined() ? picture + y : y;
}

DoublingConv2d::DoublingConv2d(const weights::Scope& scope, std::int64_t in, std::int64_t out, bool bias)
    : weight_(scope.tensor("weight", {out, in, 3, 3})),
      bias_(bias_of(scope, out, bias)),
      layers_{.names = {scope.changeable_layer()}, .bias = bias_} {
  if (should_pack_conv(weight_)) {
    packed_ = std::make_shared<const kernels::PackedConv>(weight_, bias_, kernels::Doubling::nearest);
    weight_.reset();
  } else {
    weight_ = channels_last(weight_);
  }
}

at::Tensor DoublingConv2d::operator()(const at::Tensor& x) const {
  const at::Tensor y = unchanged(x);
  return lora_changes(layers_) ? add_lora(layers_, doubled(x), y, /*stride=*/1, /*padding=*/1) : y;
}

at::Tensor DoublingConv2d::unchanged(const at::Tensor& x) const {
  if (packed_) return (*packed_)(channels_last(x), {});
  return each_row(x, [&](const at::Tensor& row) { return at::conv2d(doubled(row), weight_, bias_, 1, 1); });
}

}  // namespace diffused::nn
