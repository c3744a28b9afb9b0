// The products are those of product_amx.h where k and the processor allow, or product_avx512.h. Bias and
// function are applied to the sums while they are still in registers, so y is written once.
#include "nn/kernels/linear_avx512.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "nn/kernels/fused_activation.h"
#include "nn/kernels/multiply_all.h"
#include "nn/kernels/processor.h"

namespace diffused::nn::avx512 {
namespace {

template <typename Number>
struct Finish {
  Rows<typename Number::Value> y;
  std::int64_t columns;
  const float* bias;
  std::optional<Activation> activation;

  template <int kVectors>
  DIFFUSED_AVX512_INLINE void operator()(const __m512 (&sums)[kVectors], std::int64_t row,
                                         std::int64_t column) const {
    auto* const to = y[row] + column;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 offset = _mm512_loadu_ps(bias + column + v * kLanes);
      const __m512 result = apply(activation, _mm512_add_ps(sums[v], offset));
      Number::store(to + v * kLanes, result, first_lanes(columns - column - v * kLanes));
    }
  }
};

}  // namespace

bool PackedLinear::takes(const at::Tensor& weight) {
  return weight.device().is_cpu() && weight.dim() == 2 && weight.numel() > 0 &&
         has_avx512_for(weight.scalar_type()) &&
         (weight.scalar_type() == at::kFloat || weight.size(1) % 2 == 0);
}

bool PackedLinear::fuses(Activation activation) { return can_fuse(activation); }

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& bias) : weight_(weight, bias) {
  CHECK(takes(weight));
}

at::Tensor PackedLinear::operator()(const at::Tensor& x, std::optional<Activation> activation) const {
  CHECK(x.device().is_cpu() && x.scalar_type() == weight_.values.scalar_type() && x.size(-1) == weight_.in);
  CHECK(!activation || fuses(*activation));
  const at::Tensor rows = with_whole_rows(x);
  auto shape = x.sizes().vec();
  shape.back() = weight_.out;
  const at::Tensor y = at::empty(shape, x.options());
  if (y.numel() == 0) return y;
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    multiply_all(
        Product<Number>{Rows<Value>(rows), Packing<Number>{weight_.in, weight_.out},
                        static_cast<const Value*>(weight_.values.const_data_ptr())},
        Finish<Number>{Rows<Value>(y), weight_.out, weight_.bias.const_data_ptr<float>(), activation});
  });
  return y;
}

}  // namespace diffused::nn::avx512
