#include "kernels/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "kernels/packed_matrix.h"

namespace diffused::kernels {
namespace {

template <typename Number>
void pack(const at::Tensor& weight, const at::Tensor& packed) {
  using Value = typename Number::Value;
  const Packing<Number> packing{weight.size(1), weight.size(0)};
  at::parallel_for(0, packing.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    pack_columns(packing, static_cast<const Value*>(weight.const_data_ptr()), weight.stride(0), begin, end,
                 static_cast<Value*>(packed.mutable_data_ptr()));
  });
}

}  // namespace

PackedWeight::PackedWeight(const at::Tensor& weight, const at::Tensor& given_bias)
    : in(weight.size(1)), out(weight.size(0)) {
  const at::Tensor rows = weight.stride(1) == 1 ? weight : weight.contiguous();
  const std::int64_t tiles = divide_up(out, kTileColumns);
  values = at::empty({tiles, in * kTileColumns}, weight.options());
  with_number(weight.scalar_type(), [&]<typename Number>() { pack<Number>(rows, values); });
  bias = at::zeros({tiles * kTileColumns}, at::kFloat);
  if (given_bias.defined()) bias.narrow(0, 0, out).copy_(given_bias);
}

}  // namespace diffused::kernels
