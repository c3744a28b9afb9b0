// Each row is read into the core's first cache by the first of its passes (sum, squares, result) and written
// once. ATen runs one kernel over all tokens for each operation and rounds and stores every intermediate.
#include "kernels/tokens_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/avx512.h"
#include "kernels/processor.h"
#include "kernels/rows.h"

namespace diffused::kernels {
namespace {

constexpr std::int64_t kTokenTaskValues = 1 << 15;  // about 20 µs of work: enough for a thread to start

template <typename Number>
DIFFUSED_AVX512 float sum(const typename Number::Value* x, std::int64_t size) {
  __m512 sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < size; i += kLanes) {
    sum = _mm512_add_ps(sum, Number::load(x + i, first_lanes(size - i)));
  }
  return _mm512_reduce_add_ps(sum);
}

// The sum of (x - center)².
template <typename Number>
DIFFUSED_AVX512 float sum_of_squares(const typename Number::Value* x, std::int64_t size, float center) {
  __m512 sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512 distance = _mm512_maskz_sub_ps(lanes, Number::load(x + i, lanes), _mm512_set1_ps(center));
    sum = _mm512_fmadd_ps(distance, distance, sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// The row normalised, times `scale` (with kAddsOne 1 + scale), plus `shift`.
template <typename Number, bool kAddsOne>
DIFFUSED_AVX512 void modulate_row(const typename Number::Value* x, const typename Number::Value* shift,
                                  const typename Number::Value* scale, double eps, std::int64_t size,
                                  typename Number::Value* out) {
  const float mean = sum<Number>(x, size) / static_cast<float>(size);
  const float variance = sum_of_squares<Number>(x, size, mean) / static_cast<float>(size);
  const __m512 inverse = _mm512_set1_ps(1.0f / std::sqrt(variance + static_cast<float>(eps)));
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512 normal =
        _mm512_mul_ps(_mm512_sub_ps(Number::load(x + i, lanes), _mm512_set1_ps(mean)), inverse);
    __m512 factor = Number::load(scale + i, lanes);
    if constexpr (kAddsOne) factor = _mm512_add_ps(_mm512_set1_ps(1.0f), factor);
    Number::store(out + i, _mm512_fmadd_ps(normal, factor, Number::load(shift + i, lanes)), lanes);
  }
}

template <typename Number>
DIFFUSED_AVX512 void add_gated_row(const typename Number::Value* x, const typename Number::Value* gate,
                                   const typename Number::Value* y, std::int64_t size,
                                   typename Number::Value* out) {
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512 sum = _mm512_fmadd_ps(Number::load(gate + i, lanes), Number::load(y + i, lanes),
                                       Number::load(x + i, lanes));
    Number::store(out + i, sum, lanes);
  }
}

template <typename Number>
DIFFUSED_AVX512 __m512 inverse_root_mean_square(const typename Number::Value* x, double eps,
                                                std::int64_t size) {
  const float mean_square = sum_of_squares<Number>(x, size, 0.0f) / static_cast<float>(size);
  return _mm512_set1_ps(1.0f / std::sqrt(mean_square + static_cast<float>(eps)));
}

// The values of the lanes, normalised and weighted.
template <typename Number>
DIFFUSED_AVX512_INLINE __m512 weighted(const typename Number::Value* x, __m512 inverse,
                                       const typename Number::Value* weight, __mmask16 lanes) {
  const __m512 normal = Number::rounded(_mm512_mul_ps(Number::load(x, lanes), inverse));
  return _mm512_mul_ps(normal, Number::load(weight, lanes));
}

template <typename Number>
DIFFUSED_AVX512 void rms_norm_row(const typename Number::Value* x, const typename Number::Value* weight,
                                  double eps, std::int64_t size, typename Number::Value* out) {
  const __m512 inverse = inverse_root_mean_square<Number>(x, eps, size);
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    Number::store(out + i, weighted<Number>(x + i, inverse, weight + i, lanes), lanes);
  }
}

// cos, sin: of the row's token, [size].
template <typename Number>
DIFFUSED_AVX512 void rms_norm_rotated_row(const typename Number::Value* x,
                                          const typename Number::Value* weight, double eps, const float* cos,
                                          const float* sin, std::int64_t size, typename Number::Value* out) {
  constexpr int kSwapPairs = 0b10110001;
  const __m512 inverse = inverse_root_mean_square<Number>(x, eps, size);
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512 y = Number::rounded(weighted<Number>(x + i, inverse, weight + i, lanes));
    const __m512 turned =
        _mm512_mul_ps(_mm512_permute_ps(y, kSwapPairs), _mm512_maskz_loadu_ps(lanes, sin + i));
    Number::store(out + i, _mm512_fmadd_ps(y, _mm512_maskz_loadu_ps(lanes, cos + i), turned), lanes);
  }
}

// Calls function(i) for each of `rows` rows of `size` values, from several threads.
template <typename Function>
void for_each_row(std::int64_t rows, std::int64_t size, const Function& function) {
  at::parallel_for(0, rows, std::max<std::int64_t>(kTokenTaskValues / size, 1),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) function(i);
                   });
}

}  // namespace

bool tokens_take(at::TensorList tensors) {
  const at::ScalarType dtype = tensors.front().scalar_type();
  return has_avx512_for(dtype) && std::ranges::all_of(tensors, [&](const at::Tensor& x) {
           return x.device().is_cpu() && x.scalar_type() == dtype && x.dim() >= 1 && x.dim() <= 4 &&
                  x.stride(-1) == 1 && x.numel() > 0;
         });
}

at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                                double eps) {
  const at::Tensor out = at::empty(x.sizes(), x.options());
  const std::int64_t length = x.size(1), size = x.size(2);
  with_number(x.scalar_type(), [&]<typename Number>() {
    using R = Rows<typename Number::Value>;
    for_each_row(
        x.size(0) * length, size,
        [in = R(x), shifts = R(shift), scales = R(scale), to = R(out), length, size, eps](std::int64_t i) {
          modulate_row<Number, true>(in[i], shifts[i / length], scales[i / length], eps, size, to[i]);
        });
  });
  return out;
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const at::Tensor out = at::empty(x.sizes(), x.options());
  const std::int64_t size = x.size(-1);
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    const auto* scale = static_cast<const Value*>(weight.const_data_ptr());
    const auto* shift = static_cast<const Value*>(bias.const_data_ptr());
    for_each_row(x.numel() / size, size,
                 [in = Rows<Value>(x), to = Rows<Value>(out), scale, shift, size, eps](std::int64_t i) {
                   modulate_row<Number, false>(in[i], shift, scale, eps, size, to[i]);
                 });
  });
  return out;
}

at::Tensor add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& y) {
  const at::Tensor out = at::empty(x.sizes(), x.options());
  const std::int64_t length = x.size(1), size = x.size(2);
  with_number(x.scalar_type(), [&]<typename Number>() {
    using R = Rows<typename Number::Value>;
    for_each_row(x.size(0) * length, size,
                 [in = R(x), gates = R(gate), added = R(y), to = R(out), length, size](std::int64_t i) {
                   add_gated_row<Number>(in[i], gates[i / length], added[i], size, to[i]);
                 });
  });
  return out;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor out = at::empty_like(x);
  const std::int64_t size = x.size(-1);
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    const auto* factors = static_cast<const Value*>(weight.const_data_ptr());
    for_each_row(x.numel() / size, size,
                 [in = Rows<Value>(x), to = Rows<Value>(out), factors, size, eps](std::int64_t i) {
                   rms_norm_row<Number>(in[i], factors, eps, size, to[i]);
                 });
  });
  return out;
}

at::Tensor rms_norm_rotated(const at::Tensor& x, const at::Tensor& weight, double eps,
                            const Rotation& rotation) {
  const at::Tensor out = at::empty_like(x);
  const std::int64_t length = x.size(2), size = x.size(3);
  const auto* cos = rotation.cos.const_data_ptr<float>();
  const auto* sin = rotation.sin.const_data_ptr<float>();
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    const auto* factors = static_cast<const Value*>(weight.const_data_ptr());
    for_each_row(
        x.numel() / size, size,
        [in = Rows<Value>(x), to = Rows<Value>(out), factors, cos, sin, length, size, eps](std::int64_t i) {
          const std::int64_t turn = i % length * size;
          rms_norm_rotated_row<Number>(in[i], factors, eps, cos + turn, sin + turn, size, to[i]);
        });
  });
  return out;
}

}  // namespace diffused::kernels
