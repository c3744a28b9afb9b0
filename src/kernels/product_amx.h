// The tiles of tiles_amx.h for whole matrices. The work is cut into items of some hundred rows x a few tiles
// of 64 columns, and threads take the next item when they are done with one. An item's rows of x stay in the
// second-level cache for all its tiles, and for those of the next item. Where they are too long for that, the
// item goes through all its tiles part by part, and the sums wait in memory between the parts: the order of
// the additions is the same.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>

#include "kernels/product.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {

// How a product is cut.
struct ItemCut {
  std::int64_t rows, tiles;  // of an item, at most
  std::int64_t parts;        // of k

  ItemCut(std::int64_t count, std::int64_t all_tiles, std::int64_t units) {
    constexpr std::int64_t kRowsMax = 704, kTilesMax = 8, kItemsPerThread = 6;
    const std::int64_t blocks = divide_up(count, kRowsMax);
    rows = divide_up(divide_up(count, blocks), 2 * kRunRows) * 2 * kRunRows;
    parts = divide_up(units, kPartUnits);
    const std::int64_t items_wanted = at::get_num_threads() * kItemsPerThread;
    tiles = parts == 1 ? 1 : std::clamp<std::int64_t>(blocks * all_tiles / items_wanted, 1, kTilesMax);
  }
  std::int64_t waiting_sums() const { return (parts == 1 ? 2 * kRunRows : tiles * rows) * kTileColumns; }
};

// The sums of `count` rows, 64 each, are done.
template <int kVectors, typename Finish>
DIFFUSED_AVX512 void finish_rows(const float* sums, std::int64_t count, std::int64_t first,
                                 std::int64_t column, const Finish& finish) {
  for (std::int64_t row = first; row < first + count; ++row, sums += kTileColumns) {
    __m512 values[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) values[v] = _mm512_loadu_ps(sums + v * kLanes);
    finish.template operator()<kVectors>(values, row, column);
  }
}

// Where an item of the cut begins.
struct ItemStart {
  std::int64_t row, tile;
};

// The rows of one item times its tiles. `waiting` holds cut.waiting_sums() sums.
template <typename Number, typename Finish>
void multiply_item_in_tiles(const Product<Number>& p, const ItemCut& cut, ItemStart start, float* waiting,
                            TileRegisters& registers, const Finish& finish) {
  const std::int64_t steps = p.packing.units() / kStepUnits;
  const std::int64_t first = start.row, last = std::min(first + cut.rows, p.x.count());
  const std::int64_t first_tile = start.tile, last_tile = std::min(first_tile + cut.tiles, p.packing.tiles());
  const auto run_at = [&](std::int64_t row) {
    return row < last ? std::min({kRunRows, last - row, p.x.evenly_from(row)}) : 0;
  };
  for (std::int64_t part = 0; part < cut.parts; ++part) {
    const std::int64_t begin = part * steps / cut.parts, end = (part + 1) * steps / cut.parts;
    for (std::int64_t tile = first_tile; tile < last_tile; ++tile) {
      const std::int64_t column = tile * kTileColumns, columns = p.packing.n - column;
      RunProduct product{.stride = p.x.stride() * static_cast<std::int64_t>(sizeof(typename Number::Value)),
                         .packed = reinterpret_cast<const char*>(p.packed + tile * p.packing.tile_values()) +
                                   begin * kPackedStepBytes,
                         .steps = end - begin,
                         .segments = 1,
                         .sums_stride = kPackedRowBytes,
                         .begins = part == 0};
      for (std::int64_t row = first; row < last;) {
        float* const sums = cut.parts == 1
                                ? waiting
                                : waiting + ((tile - first_tile) * cut.rows + row - first) * kTileColumns;
        product.rows[0] = run_at(row);
        product.rows[1] = run_at(row + product.rows[0]);
        const std::int64_t second = product.rows[1] > 0 ? row + product.rows[0] : row;
        product.x[0] = reinterpret_cast<const char*>(p.x[row]) + begin * kStepBytes;
        product.x[1] = reinterpret_cast<const char*>(p.x[second]) + begin * kStepBytes;
        product.sums[0] = sums;
        product.sums[1] = sums + product.rows[0] * kTileColumns;
        multiply_runs<Number>(product, vectors_of(columns), registers);
        const std::int64_t rows = product.rows[0] + product.rows[1];
        if (part + 1 == cut.parts) {
          with_vectors(columns,
                       [&]<int kVectors>() { finish_rows<kVectors>(sums, rows, row, column, finish); });
        }
        row += rows;
      }
    }
  }
}

template <typename Number, typename Finish>
void multiply_in_tiles(const Product<Number>& p, const Finish& finish) {
  const ItemCut cut(p.x.count(), p.packing.tiles(), p.packing.units());
  const std::int64_t groups = divide_up(p.packing.tiles(), cut.tiles);
  const std::int64_t items = divide_up(p.x.count(), cut.rows) * groups;
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), items);
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    TileRegisters registers;
    const at::Tensor waiting = at::empty({cut.waiting_sums()}, at::kFloat);
    for (std::int64_t item = next++; item < items; item = next++) {
      const ItemStart start{item / groups * cut.rows, item % groups * cut.tiles};
      multiply_item_in_tiles(p, cut, start, waiting.mutable_data_ptr<float>(), registers, finish);
    }
  });
}

}  // namespace diffused::kernels
