// The functions that a product can be given on its way out of the registers.
#pragma once

#include <optional>

#include "nn/activation.h"
#include "nn/kernels/avx512.h"

namespace diffused::nn::avx512 {

// All but the exact gelu.
inline bool can_fuse(Activation activation) { return activation != Activation::gelu; }

DIFFUSED_AVX512_INLINE __m512 apply(std::optional<Activation> activation, __m512 x) {
  if (!activation) return x;
  switch (*activation) {
    case Activation::relu:
      return _mm512_max_ps(x, _mm512_setzero_ps());
    case Activation::silu:
      return _mm512_mul_ps(x, sigmoid(x));
    case Activation::quick_gelu:
      return _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(x, _mm512_set1_ps(1.702f))));
    case Activation::gelu_tanh: {
      // x (1 + tanh(u)) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x³)
      const __m512 cubic =
          _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(1.5957691216057308f * 0.044715f));
      const __m512 twice_u = _mm512_mul_ps(x, _mm512_add_ps(cubic, _mm512_set1_ps(1.5957691216057308f)));
      return _mm512_mul_ps(x, sigmoid(twice_u));
    }
    case Activation::gelu:
      break;  // not fused
  }
  return x;
}

}  // namespace diffused::nn::avx512
