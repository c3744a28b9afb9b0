// The functions that a product can be given on its way out of the registers.
#pragma once

#include <optional>

#include "kernels/activation.h"
#include "kernels/avx512.h"

namespace diffused::kernels {

// The part of the normal distribution below x, with an error below 1e-7: Abramowitz & Stegun, "Handbook of
// Mathematical Functions", 7.1.26, which gives the part beyond |x|.
DIFFUSED_AVX512_INLINE __m512 normal_distribution(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678118654752440f));  // |x| / √2
  const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one));
  __m512 y = _mm512_set1_ps(1.061405429f);
  y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(-1.453152027f));
  y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(1.421413741f));
  y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(-0.284496736f));
  y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.254829592f));
  const __m512 bell = exp2(_mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-1.44269504088896340736f)));
  const __m512 beyond = _mm512_mul_ps(_mm512_mul_ps(y, _mm512_mul_ps(t, _mm512_set1_ps(0.5f))), bell);
  const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
  return _mm512_mask_sub_ps(beyond, positive, one, beyond);
}

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
      return _mm512_mul_ps(x, normal_distribution(x));
  }
  return x;
}

}  // namespace diffused::kernels
