// The register tile of packed_matrix.h for whole matrices. The work is cut into items of 240 rows x one tile
// of 64 columns, and threads take the next item when they are done with one:
//
//   x [rows, k]   ┌─ 240 rows ─┐       packed   tile 0 │ tile 1 │ …      item (block, tile) → y[block, tile]
//                 └────────────┘                64 columns, k * 256 bytes / unit, from end to end
//
// A tile is read once per item and stays in the second-level cache for its 40 sixes of rows; the 240 rows of
// x and y are few enough for the page tables' cache, which the rows of a large x would flush at every tile.
// Where a tile is too tall for that cache, the item goes through it part by part, and the sums wait in memory
// between the parts: the order of the additions is the same.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "kernels/packed_matrix.h"
#include "kernels/product.h"

namespace diffused::kernels {

inline constexpr std::int64_t kBlockRowsMax = 240;

// Rows first…first + rows - 1 (at most six) times the units begin…end - 1 of one tile.
struct Portion {
  std::int64_t tile, first;
  int rows;
  std::int64_t begin, end;
  const char* ahead;  // memory to fetch meanwhile; or null
};

// `waiting` holds the sums between parts, 6 x 64.
template <typename Number, int kVectors, typename Finish>
DIFFUSED_AVX512 void multiply_portion(const Product<Number>& p, const Portion& portion, const Finish& finish,
                                      float* waiting) {
  const typename Number::Left* x[kTileRows];
  for (int row = 0; row < kTileRows; ++row) {
    // A last, partial six repeats its last row.
    x[row] = p.x[portion.first + std::min(row, portion.rows - 1)] + portion.begin * Number::kUnitValues;
  }
  Tile<kVectors> sums = portion.begin > 0 ? waiting_tile<kVectors>(waiting) : zero_tile<kVectors>();
  const auto* const from =
      p.packed + portion.tile * p.packing.tile_values() + portion.begin * p.packing.unit_row_values();
  if (portion.ahead != nullptr) {
    add_products<Number, kVectors, true>(x, from, portion.end - portion.begin, sums, portion.ahead);
  } else {
    add_products<Number, kVectors>(x, from, portion.end - portion.begin, sums);
  }
  if (portion.end == p.packing.units()) {
#pragma GCC unroll 6
    for (int row = 0; row < kTileRows; ++row) {
      if (row >= portion.rows) continue;
      finish.template operator()<kVectors>(sums.sum[row], portion.first + row, portion.tile * kTileColumns);
    }
  } else {
    let_wait(sums, waiting);
  }
}

// Rows first…last - 1 times a tile. `following` is the tile that comes next, or null.
template <typename Number, typename Finish>
void multiply_item(const Product<Number>& p, std::int64_t tile, std::int64_t first, std::int64_t last,
                   const typename Number::Value* following, const Finish& finish) {
  alignas(64) static thread_local float waiting[kBlockRowsMax * kTileColumns];
  const std::int64_t units = p.packing.units(), parts = divide_up(units, kPartUnits);
  with_vectors(p.packing.n - tile * kTileColumns, [&]<int kVectors>() {
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t begin = part * units / parts, end = (part + 1) * units / parts;
      const auto* const ahead = reinterpret_cast<const char*>(
          part + 1 < parts ? p.packed + tile * p.packing.tile_values() + end * p.packing.unit_row_values()
                           : following);
      for (std::int64_t row = first; row < last; row += kTileRows) {
        // A unit row is four lines: after so many sixes of rows all is under way.
        const std::int64_t six = (row - first) / kTileRows;
        const bool fetches = ahead != nullptr && six < 4 * kUnitsPerLine;
        const Portion portion{
            tile,  row, static_cast<int>(std::min(last - row, kTileRows)),
            begin, end, fetches ? ahead + six * (end - begin) / kUnitsPerLine * kLineBytes : nullptr};
        multiply_portion<Number, kVectors>(p, portion, finish, waiting + (row - first) * kTileColumns);
      }
    }
  });
}

template <typename Number, typename Finish>
void multiply_in_registers(const Product<Number>& p, const Finish& finish) {
  const std::int64_t blocks = divide_up(p.x.count(), kBlockRowsMax);
  const std::int64_t block_rows = divide_up(divide_up(p.x.count(), blocks), kTileRows) * kTileRows;
  const std::int64_t tiles = p.packing.tiles();
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), blocks * tiles);
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    for (std::int64_t item = next++; item < blocks * tiles; item = next++) {
      const std::int64_t first = item / tiles * block_rows;
      // The threads keep step, more or less.
      const auto* const following = item + threads < blocks * tiles
                                        ? p.packed + (item + threads) % tiles * p.packing.tile_values()
                                        : nullptr;
      multiply_item(p, item % tiles, first, std::min(first + block_rows, p.x.count()), following, finish);
    }
  });
}

}  // namespace diffused::kernels
