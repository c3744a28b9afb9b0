#include "kernels/packed_matrix.h"

#include <algorithm>

namespace diffused::kernels {
namespace {

// Transposes 16 x 16 units: four rounds exchange the off-diagonal halves of ever smaller squares.
DIFFUSED_AVX512_INLINE void transpose(__m512i (&rows)[kLanes]) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i second_operand = _mm512_set1_epi32(kLanes);  // is added to the lane numbers of the second
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
    const __m512i bit = _mm512_set1_epi32(half);
    const __m512i crossed = _mm512_xor_si512(lane, bit);
    const __mmask16 right = _mm512_test_epi32_mask(lane, bit);
    const __m512i upper = _mm512_mask_add_epi32(lane, right, crossed, second_operand);
    const __m512i lower = _mm512_mask_add_epi32(crossed, right, lane, second_operand);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if ((i & half) != 0) continue;
      const __m512i a = rows[i], b = rows[i + half];
      rows[i] = _mm512_permutex2var_epi32(a, upper, b);
      rows[i + half] = _mm512_permutex2var_epi32(a, lower, b);
    }
  }
}

// One register of the first `count` values, zero beyond; any other count means none or all.
DIFFUSED_AVX512_INLINE __m512i load_values(const float* from, std::int64_t count) {
  return _mm512_maskz_loadu_epi32(first_lanes(count), from);
}
DIFFUSED_AVX512_INLINE __m512i load_values(const std::uint16_t* from, std::int64_t count) {
  const __mmask32 values = count >= 32 ? 0xffffffff : count <= 0 ? 0 : (1u << count) - 1;
  return _mm512_maskz_loadu_epi16(values, from);
}

DIFFUSED_AVX512_INLINE __m512i load_values(const std::uint8_t* from, std::int64_t count) {
  const __mmask64 values = count >= 64 ? ~0ull : count <= 0 ? 0 : (1ull << count) - 1;
  return _mm512_maskz_loadu_epi8(values, from);
}

}  // namespace

template <typename Number>
DIFFUSED_AVX512 void pack_columns(const Packing<Number>& packing, const typename Number::Value* columns,
                                  std::int64_t stride, std::int64_t first, std::int64_t last,
                                  typename Number::Value* packed) {
  constexpr std::int64_t kUnit = Number::kUnitValues;
  for (std::int64_t j = first * kTileColumns; j < last * kTileColumns; j += kLanes) {
    typename Number::Value* const tile = packed + j / kTileColumns * packing.tile_values();
    const std::int64_t vector = j % kTileColumns / kLanes;
    for (std::int64_t unit = 0; unit < packing.units(); unit += kLanes) {
      __m512i block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const std::int64_t count = j + i < packing.n ? packing.k - unit * kUnit : 0;
        block[i] = load_values(columns + (j + i) * stride + unit * kUnit, count);
      }
      transpose(block);
      const std::int64_t count = std::min(packing.units() - unit, kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        if (i < count) _mm512_storeu_si512(tile + packing.offset(unit + i, vector), block[i]);
      }
    }
  }
}

template <>
DIFFUSED_AVX512 void pack_rows<Float32>(const Packing<Float32>& packing, const float* rows,
                                        std::int64_t stride, std::int64_t count, float* packed) {
  for (std::int64_t j = 0; j < packing.tiles() * kTileColumns; j += kLanes) {
    float* to = packed + j / kTileColumns * packing.tile_values() + j % kTileColumns;
    for (std::int64_t i = 0; i < packing.k; ++i, to += kTileColumns) {
      _mm512_storeu_si512(to, load_values(rows + i * stride + j, i < count ? packing.n - j : 0));
    }
  }
}

template <>
DIFFUSED_AVX512 void pack_rows<Bfloat16>(const Packing<Bfloat16>& packing, const std::uint16_t* rows,
                                         std::int64_t stride, std::int64_t count, std::uint16_t* packed) {
  // The 16-bit lanes of the first and the second half of two interleaved registers.
  alignas(64) std::uint16_t interleaved[64];
  for (int i = 0; i < 64; ++i) interleaved[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32);
  const __m512i first = _mm512_load_si512(interleaved), second = _mm512_load_si512(interleaved + 32);
  for (std::int64_t j = 0; j < packing.tiles() * kTileColumns; j += 32) {
    std::uint16_t* const tile = packed + j / kTileColumns * packing.tile_values();
    const std::int64_t vector = j % kTileColumns / kLanes;
    for (std::int64_t i = 0; i < packing.k; i += 2) {
      const std::uint16_t* from = rows + i * stride + j;
      const __m512i upper = load_values(from, i < count ? packing.n - j : 0);
      const __m512i lower = load_values(from + stride, i + 1 < count ? packing.n - j : 0);
      _mm512_storeu_si512(tile + packing.offset(i / 2, vector),
                          _mm512_permutex2var_epi16(upper, first, lower));
      _mm512_storeu_si512(tile + packing.offset(i / 2, vector + 1),
                          _mm512_permutex2var_epi16(upper, second, lower));
    }
  }
}

template void pack_columns(const Packing<Float32>&, const float*, std::int64_t, std::int64_t, std::int64_t,
                           float*);
template void pack_columns(const Packing<Bytes>&, const std::uint8_t*, std::int64_t, std::int64_t,
                           std::int64_t, std::uint8_t*);
template void pack_columns(const Packing<Bfloat16>&, const std::uint16_t*, std::int64_t, std::int64_t,
                           std::int64_t, std::uint16_t*);

// Wide in registers only.
template <>
DIFFUSED_AVX512 void pack_columns<WideBfloat16>(const Packing<WideBfloat16>& packing,
                                                const std::uint16_t* columns, std::int64_t stride,
                                                std::int64_t first, std::int64_t last,
                                                std::uint16_t* packed) {
  pack_columns(Packing<Bfloat16>{packing.k, packing.n, /*for_amx=*/false}, columns, stride, first, last,
               packed);
}
template <>
DIFFUSED_AVX512 void pack_rows<WideBfloat16>(const Packing<WideBfloat16>& packing, const std::uint16_t* rows,
                                             std::int64_t stride, std::int64_t count, std::uint16_t* packed) {
  pack_rows(Packing<Bfloat16>{packing.k, packing.n, /*for_amx=*/false}, rows, stride, count, packed);
}

}  // namespace diffused::kernels
