// The vector vocabulary of the kernels: registers of 16 float32 lanes, and the two number formats they
// compute from.
//
// The program is built for plain x86-64 and picks kernels at run time, so no file is compiled for AVX-512 as
// a whole: each function that uses it says so with one of these attributes. (A whole file would also compile
// the inline functions of the headers it includes for AVX-512, and the linker might keep those copies for
// everyone.)
#pragma once

#include <c10/core/ScalarType.h>
#include <immintrin.h>

#include <cstdint>

#include "kernels/processor.h"

// GCC 12 reports the registers that its own intrinsics leave undefined on purpose (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define DIFFUSED_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,fma")))
#define DIFFUSED_AVX512_INLINE DIFFUSED_AVX512 __attribute__((always_inline)) inline

namespace diffused::kernels {

inline constexpr std::int64_t kLanes = 16;  // float32 values of one register

// The lanes below `count`, for the last, partly filled register of a row.
inline __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
}

// A number format: how 16 values become float32 lanes and back, and how the products of the register tile
// (packed_matrix.h) are taken. A tile's unit is 32 bits: one float32, two neighbouring bfloat16, or four
// bytes. What multiplies it, `Left`, may be kept in another format than `Value`, and takes kTurns
// multiply-adds, of as many units of Left.
struct Float32 {
  using Value = float;
  using Left = float;
  static constexpr std::int64_t kUnitValues = 1;
  static constexpr int kTurns = 1;

  static DIFFUSED_AVX512_INLINE __m512 load(const Value* from) { return _mm512_loadu_ps(from); }
  static DIFFUSED_AVX512_INLINE __m512 load(const Value* from, __mmask16 lanes) {
    return _mm512_maskz_loadu_ps(lanes, from);
  }
  static DIFFUSED_AVX512_INLINE void store(Value* to, __m512 x) { _mm512_storeu_ps(to, x); }
  static DIFFUSED_AVX512_INLINE void store(Value* to, __m512 x, __mmask16 lanes) {
    _mm512_mask_storeu_ps(to, lanes, x);
  }
  static DIFFUSED_AVX512_INLINE __m512 rounded(__m512 x) { return x; }
  static DIFFUSED_AVX512_INLINE void store_left(Left* to, __m512 x) { store(to, x); }
  // What units of B give to a turn.
  template <int kTurn>
  static DIFFUSED_AVX512_INLINE __m512i right(__m512i units) {
    return units;
  }
  // sum + a * b, unit by unit.
  static DIFFUSED_AVX512_INLINE __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
};

// The upper half of a float32. Stores round to nearest even, as ATen does.
struct Bfloat16 {
  using Value = std::uint16_t;
  using Left = std::uint16_t;
  static constexpr std::int64_t kUnitValues = 2;
  static constexpr int kTurns = 1;

  static DIFFUSED_AVX512_INLINE __m512 widen(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static DIFFUSED_AVX512_INLINE __m512 load(const Value* from) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static DIFFUSED_AVX512_INLINE __m512 load(const Value* from, __mmask16 lanes) {
    return widen(_mm256_maskz_loadu_epi16(lanes, from));
  }
  static DIFFUSED_AVX512_INLINE void store(Value* to, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(x));
  }
  static DIFFUSED_AVX512_INLINE void store(Value* to, __m512 x, __mmask16 lanes) {
    _mm256_mask_storeu_epi16(to, lanes, (__m256i)_mm512_cvtneps_pbh(x));
  }
  static DIFFUSED_AVX512_INLINE __m512 rounded(__m512 x) { return widen((__m256i)_mm512_cvtneps_pbh(x)); }
  static DIFFUSED_AVX512_INLINE void store_left(Left* to, __m512 x) { store(to, x); }
  template <int kTurn>
  static DIFFUSED_AVX512_INLINE __m512i right(__m512i units) {
    return units;
  }
  static DIFFUSED_AVX512_INLINE __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

// Bfloat16 in memory, multiplied as float32: for processors that take two cycles for what AVX512-BF16 does,
// and one for two multiply-adds of float32. The pairs of B are widened in registers, A beforehand.
struct WideBfloat16 : Bfloat16 {
  using Left = float;
  static constexpr int kTurns = 2;

  static DIFFUSED_AVX512_INLINE void store_left(Left* to, __m512 x) { _mm512_storeu_ps(to, x); }
  template <int kTurn>
  static DIFFUSED_AVX512_INLINE __m512i right(__m512i units) {
    if constexpr (kTurn == 0) return _mm512_slli_epi32(units, 16);
    return _mm512_and_si512(units, _mm512_set1_epi32(static_cast<int>(0xffff0000)));
  }
  static DIFFUSED_AVX512_INLINE __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return Float32::multiply_add(sum, a, b);
  }
};

// Bytes, unsigned on the left of a product and signed on its right. The sums are int32 in the bits of a
// register of float32.
struct Bytes {
  using Value = std::uint8_t;
  using Left = std::uint8_t;
  static constexpr std::int64_t kUnitValues = 4;
  static constexpr int kTurns = 1;

  template <int kTurn>
  static DIFFUSED_AVX512_INLINE __m512i right(__m512i units) {
    return units;
  }
  static DIFFUSED_AVX512_INLINE __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b));
  }
};

// Calls function.operator()<Number>() with the format of `dtype`: float32, or else bfloat16.
template <typename Function>
void with_number(at::ScalarType dtype, const Function& function) {
  if (dtype == at::kFloat) {
    function.template operator()<Float32>();
  } else {
    function.template operator()<Bfloat16>();
  }
}

// The same with the format in which this processor multiplies fastest.
template <typename Function>
void with_multiplied_number(at::ScalarType dtype, const Function& function) {
  if (dtype == at::kBFloat16 && multiplies_bfloat16_as_float32()) {
    function.template operator()<WideBfloat16>();
  } else {
    with_number(dtype, function);
  }
}

// 2^x with a relative error below 2e-7; 0 below -149; NaN stays NaN.
DIFFUSED_AVX512_INLINE __m512 exp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-150.0f), x);
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 part = _mm512_sub_ps(x, whole);  // -0.5…0.5
  // The polynomial of degree 5 with the smallest relative error there (7e-8).
  __m512 y = _mm512_set1_ps(1.3276466634124517e-3f);
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(9.675540961325169e-3f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(5.550713464617729e-2f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.24022120237350464f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.6931469440460205f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(y, whole);
}

// 1 / (1 + e^-x).
DIFFUSED_AVX512_INLINE __m512 sigmoid(__m512 x) {
  constexpr float kLog2E = 1.44269504088896340736f;
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(one, _mm512_add_ps(one, exp2(_mm512_mul_ps(x, _mm512_set1_ps(-kLog2E)))));
}

}  // namespace diffused::kernels
