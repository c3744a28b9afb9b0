// What happens to the sums of a product (product.h) before they are stored: they become the results of a
// linear, in float32, which a function, a gate and an addition may change, and are rounded once.
//
// The last template argument makes results of sums, operator()(sums, row, column) → 16 results:
//   AddBias      sums + bias
//   Dequantize   those of bytes, in quantized_linear_avx512.cpp
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/fused_activation.h"
#include "kernels/fused_linear.h"
#include "kernels/packed_matrix.h"
#include "kernels/rows.h"

namespace diffused::kernels {

struct AddBias {
  const float* bias;

  DIFFUSED_AVX512_INLINE __m512 operator()(__m512 sums, std::int64_t /*row*/, std::int64_t column) const {
    return _mm512_add_ps(sums, _mm512_loadu_ps(bias + column));
  }
};

// Has the line of memory fetched that will be written.
inline void expect_write(const void* line) { asm volatile("prefetchw (%0)" ::"r"(line)); }

// Writes `columns` results a row.
template <typename Number, typename Result>
struct Finish {
  using Value = typename Number::Value;

  Finish(const at::Tensor& to, std::int64_t columns, const LinearExtras& extras, const Result& result)
      : y(to),
        columns(columns),
        result(result),
        activation(extras.activation),
        gates(extras.gate.defined() ? Rows<const Value>(extras.gate) : Rows<const Value>()),
        added(extras.added.defined() ? Rows<const Value>(extras.added) : Rows<const Value>()),
        length(extras.gate.defined() ? to.numel() / columns / to.size(0) : 1) {}

  template <int kVectors>
  DIFFUSED_AVX512_INLINE void operator()(const __m512 (&sums)[kVectors], std::int64_t row,
                                         std::int64_t column) const {
    Value* const to = y[row] + column;
    const Value* const gate = gates.data != nullptr ? gates[row / length] + column : nullptr;
    const Value* const sum = added.data != nullptr ? added[row] + column : nullptr;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = v * kLanes;
      const __mmask16 lanes = first_lanes(columns - column - at);
      __m512 value = apply(activation, result(sums[v], row, column + at));
      if (gate != nullptr) value = _mm512_mul_ps(value, Number::load(gate + at, lanes));
      if (sum != nullptr) value = _mm512_add_ps(value, Number::load(sum + at, lanes));
      Number::store(to + at, value, lanes);
    }
  }

  // Says that 64 results from this column on will be written soon. Otherwise each store waits for its line.
  void expect(std::int64_t row, std::int64_t column) const {
    const char* const to = reinterpret_cast<const char*>(y[row] + column);
    for (std::int64_t byte = 0; byte < kTileColumns * kValueBytes; byte += 64) expect_write(to + byte);
    if (added.data == nullptr) return;
    const char* const from = reinterpret_cast<const char*>(added[row] + column);
    for (std::int64_t byte = 0; byte < kTileColumns * kValueBytes; byte += 64) {
      __builtin_prefetch(from + byte);
    }
  }

  static constexpr std::int64_t kValueBytes = sizeof(Value);

  Rows<Value> y;
  std::int64_t columns;
  Result result;
  std::optional<Activation> activation;
  Rows<const Value> gates, added;  // of no data: none
  std::int64_t length;             // rows of y to a row of gates
};

// Of linears whose columns are values and gates in turns of 32: writes value * function(gate).
template <typename Number, typename Result>
struct FinishPairs {
  using Value = typename Number::Value;

  template <int kVectors>
  DIFFUSED_AVX512_INLINE void operator()(const __m512 (&sums)[kVectors], std::int64_t row,
                                         std::int64_t column) const {
    static_assert(kPairColumns == 2 * kLanes);
    if constexpr (kVectors == 4) {
      Value* const to = y[row] + column / 2;
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::int64_t at = column + v * kLanes;
        const __m512 gate = apply(activation, result(sums[v + 2], row, at + kPairColumns));
        Number::store(to + v * kLanes, _mm512_mul_ps(result(sums[v], row, at), gate));
      }
    }
  }

  void expect(std::int64_t row, std::int64_t column) const {
    const char* const to = reinterpret_cast<const char*>(y[row] + column / 2);
    for (std::int64_t byte = 0; byte < kPairColumns * static_cast<std::int64_t>(sizeof(Value)); byte += 64) {
      expect_write(to + byte);
    }
  }

  Rows<Value> y;
  Result result;
  std::optional<Activation> activation;
};

}  // namespace diffused::kernels
