// What attention_avx512.cpp and attention_amx.h are asked.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/packed_matrix.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {

inline constexpr std::int64_t kKeysMultiple = 32;

// The memory of a [B, H, L, D] tensor.
template <typename Value>
struct Heads {
  explicit Heads(const at::Tensor& x)
      : data(static_cast<Value*>(x.data_ptr())),
        batch_stride(x.stride(0)),
        head_stride(x.stride(1)),
        row_stride(x.stride(2)) {}
  Value* row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return data + b * batch_stride + h * head_stride + i * row_stride;
  }

  Value* data;
  std::int64_t batch_stride, head_stride, row_stride;
};

template <typename Number>
struct AttentionProblem {
  using Value = typename Number::Value;

  Heads<Value> q, k, v, out;
  std::int64_t heads, queries, keys, size;
  float scale;
  const at::Tensor& bias;  // undefined, or float32 [B, H, Lq, Lk] with stride 1 in the last dimension

  Packing<Number> k_packing() const { return {size, keys}; }
  // With probabilities of zero up to whole steps of the tiles.
  Packing<Number> v_packing() const { return {divide_up(keys, kKeysMultiple) * kKeysMultiple, size}; }
  // 32 queries where AMX takes them, or six.
  bool in_tiles() const { return k_packing().for_amx; }
  std::int64_t queries_at_once() const { return in_tiles() ? 2 * kRunRows : kTileRows; }
  const float* bias_row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return bias.const_data_ptr<float>() + b * bias.stride(0) + h * bias.stride(1) + i * bias.stride(2);
  }
};

DIFFUSED_AVX512 inline void add_bias(float* scores, const float* bias, std::int64_t keys, float scale) {
  const __m512 inverse_scale = _mm512_set1_ps(1.0f / scale);  // the scores are still unscaled
  for (std::int64_t i = 0; i < keys; i += kLanes) {
    const __m512 b = _mm512_maskz_loadu_ps(first_lanes(keys - i), bias + i);
    _mm512_storeu_ps(scores + i, _mm512_fmadd_ps(b, inverse_scale, _mm512_loadu_ps(scores + i)));
  }
}

}  // namespace diffused::kernels
