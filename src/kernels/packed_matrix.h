// A matrix B [k, n] packed for the vector units, and the register tile that multiplies rows with it.
//
// B is cut into tiles of 64 columns. Inside a tile, units of 32 bits (one float32; or two bfloat16, of rows
// 2i and 2i + 1) lie row after row:
//
//   tile t, unit row i:   B[i][64t]  B[i][64t+1]  …  B[i][64t+63]        256 bytes, four registers
//
// or, where AMX multiplies, as its registers take them: the two panels of 32 columns one after the other, and
// of each, for every 16 unit rows, two blocks of 16 rows x 64 bytes.
//
// so that a product reads a tile from end to end, one stream the prefetcher follows. It keeps 6 rows x 64
// columns of the result in 24 of the 32 registers: each unit row costs 4 loads of B, 6 broadcasts of A and 24
// multiply-adds (dpbf16ps for bfloat16: two products a lane; dpbusd for bytes: four), so the multipliers, not
// the loads, are the limit. Sums run over k from first to last in float32, whatever is multiplied beside
// them: a row's result depends on that row alone.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/avx512.h"
#include "kernels/processor.h"

namespace diffused::kernels {

inline constexpr std::int64_t kTileColumns = 64;
inline constexpr std::int64_t kTileRows = 6;
inline constexpr std::int64_t kPartUnits = 1024;  // 256 KB of a tile: what the second-level cache keeps

inline constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

inline constexpr std::int64_t kStepUnits = 16;  // of k in a register of AMX

template <typename Number>
inline constexpr bool kHasTiles = std::is_same_v<Number, Bfloat16> || std::is_same_v<Number, Bytes>;

// Whether products over so many units of k run in tiles of AMX.
template <typename Number>
bool takes_tiles(std::int64_t units) {
  return kHasTiles<Number> && units % kStepUnits == 0 && has_amx();
}

// The shape of a packed B. What lies outside of B is zero.
template <typename Number>
struct Packing {
  std::int64_t k, n;
  bool for_amx = takes_tiles<Number>(divide_up(k, Number::kUnitValues));

  std::int64_t tiles() const { return divide_up(n, kTileColumns); }
  std::int64_t units() const { return divide_up(k, Number::kUnitValues); }
  std::int64_t unit_row_values() const { return Number::kUnitValues * kTileColumns; }
  std::int64_t tile_values() const { return units() * unit_row_values(); }
  std::int64_t values() const { return tiles() * tile_values(); }
  // Where a tile's columns 16 * vector…16 * vector + 15 of a unit row lie.
  std::int64_t offset(std::int64_t unit, std::int64_t vector) const {
    const std::int64_t first = unit / kStepUnits * kStepUnits, panel = vector / 2;
    const std::int64_t registers =
        for_amx ? (panel * units() + first) * 2 + vector % 2 * kStepUnits + (unit - first)
                : 4 * unit + vector;
    return registers * kLanes * Number::kUnitValues;
  }
};

// Packs the tiles first…last - 1 from memory that holds B's columns as rows: B[i][j] = columns[j * stride +
// i]. `packed` is the beginning of all tiles.
template <typename Number>
DIFFUSED_AVX512 void pack_columns(const Packing<Number>& packing, const typename Number::Value* columns,
                                  std::int64_t stride, std::int64_t first, std::int64_t last,
                                  typename Number::Value* packed);

// Packs all of B from memory that holds its first `count` rows as rows: B[i][j] = rows[i * stride + j]. The
// others are zero.
template <typename Number>
DIFFUSED_AVX512 void pack_rows(const Packing<Number>& packing, const typename Number::Value* rows,
                               std::int64_t stride, std::int64_t count, typename Number::Value* packed);

// Values as they multiply; count: a multiple of kLanes.
template <typename Number>
DIFFUSED_AVX512 void copy_left(const typename Number::Value* from, std::int64_t count,
                               typename Number::Left* to) {
  for (std::int64_t i = 0; i < count; i += kLanes) Number::store_left(to + i, Number::load(from + i));
}

// 6 rows x (16 * kVectors) columns of float32 sums.
template <int kVectors>
struct Tile {
  __m512 sum[kTileRows][kVectors];
};

template <int kVectors>
DIFFUSED_AVX512_INLINE Tile<kVectors> zero_tile() {
  Tile<kVectors> tile;
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) tile.sum[row][v] = _mm512_setzero_ps();
  }
  return tile;
}

// Sums that wait in memory, kTileRows x kTileColumns, while others are worked on.
template <int kVectors>
DIFFUSED_AVX512_INLINE Tile<kVectors> waiting_tile(const float* from) {
  Tile<kVectors> tile;
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      tile.sum[row][v] = _mm512_loadu_ps(from + (row * kVectors + v) * kLanes);
  }
  return tile;
}

template <int kVectors>
DIFFUSED_AVX512_INLINE void let_wait(const Tile<kVectors>& tile, float* to) {
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(to + (row * kVectors + v) * kLanes, tile.sum[row][v]);
  }
}

DIFFUSED_AVX512_INLINE __m512i broadcast_unit(const void* from) {
  std::int32_t unit;
  std::memcpy(&unit, from, sizeof unit);
  return _mm512_set1_epi32(unit);
}

inline constexpr std::int64_t kUnitsPerLine = 4;
inline constexpr std::int64_t kLineBytes = 64;

// One turn of a unit row; `left`: of the six rows.
template <typename Number, int kVectors, int kTurn>
DIFFUSED_AVX512_INLINE void add_turn(const typename Number::Left* const (&left)[kTileRows],
                                     std::int64_t offset, const typename Number::Value* tile,
                                     Tile<kVectors>& result) {
  __m512i b[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    b[v] = Number::template right<kTurn>(_mm512_loadu_si512(tile + v * Number::kUnitValues * kLanes));
  }
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
    const __m512i a = broadcast_unit(left[row] + offset + kTurn);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      result.sum[row][v] = Number::multiply_add(result.sum[row][v], a, b[v]);
    }
  }
}

// Adds the products of six rows of A with the first 16 * kVectors columns of a packed tile. `rows` point to
// the rows of A, each `units` long. With kAhead the second-level cache is told to fetch units / kUnitsPerLine
// lines of memory from `ahead` on meanwhile.
template <typename Number, int kVectors, bool kAhead = false>
DIFFUSED_AVX512_INLINE void add_products(const typename Number::Left* const* rows,
                                         const typename Number::Value* tile, std::int64_t units,
                                         Tile<kVectors>& result, const char* ahead = nullptr) {
  constexpr std::int64_t kUnit = Number::kUnitValues;
  const typename Number::Left* const begin[kTileRows] = {rows[0], rows[1], rows[2],
                                                         rows[3], rows[4], rows[5]};
  for (std::int64_t unit = 0; unit < units; ++unit, tile += kUnit * kTileColumns) {
    if (kAhead && unit % kUnitsPerLine == 0) {
      _mm_prefetch(ahead, _MM_HINT_T1);
      ahead += kLineBytes;
    }
    add_turn<Number, kVectors, 0>(begin, unit * kUnit, tile, result);
    if constexpr (Number::kTurns == 2) add_turn<Number, kVectors, 1>(begin, unit * kUnit, tile, result);
  }
}

// The products alone.
template <typename Number, int kVectors>
DIFFUSED_AVX512_INLINE Tile<kVectors> multiply(const typename Number::Left* const* rows,
                                               const typename Number::Value* tile, std::int64_t units) {
  Tile<kVectors> result = zero_tile<kVectors>();
  add_products<Number, kVectors>(rows, tile, units, result);
  return result;
}

// The registers, 1…4, that hold so many columns of a tile.
inline int vectors_of(std::int64_t columns) {
  return static_cast<int>(std::clamp<std::int64_t>(divide_up(columns, kLanes), 1, 4));
}

// Calls function.operator()<vectors_of(columns)>().
template <typename Function>
void with_vectors(std::int64_t columns, const Function& function) {
  switch (vectors_of(columns)) {
    case 1:
      return function.template operator()<1>();
    case 2:
      return function.template operator()<2>();
    case 3:
      return function.template operator()<3>();
    default:
      return function.template operator()<4>();
  }
}

}  // namespace diffused::kernels
