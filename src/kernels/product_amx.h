// The tiles of tiles_amx.h for whole matrices. The work is cut into items of up to 256 rows x some tiles of
// 64 columns, and threads take the next item when they are done with one. An item's rows are first copied in
// the order of the registers:
//
//   x [rows, k]   →   left [pair of runs][step][run][16 rows][64 bytes]
//
// so that a register comes from 16 neighbouring lines of memory, wherever the rows lie: rows whose distance
// is a multiple of 4 KB would all fall into one set of the first-level cache. The copy stays in the
// second-level cache for all tiles of the item; where k is too long for that, the item goes through all its
// tiles chunk by chunk of k, and its sums wait in memory. The loops, from outermost to innermost:
//
//   chunk of k, copied ▸ tile ▸ part of k ▸ panel of 32 columns, now in the first-level cache ▸ pair of runs
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>

#include "kernels/product.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {

inline constexpr std::int64_t kPairRows = 2 * kRunRows;

// How a product is cut into items. Blocks of rows are shared out among the threads; those left over when each
// thread had as many are cut by columns.
struct ItemCut {
  std::int64_t block_rows, blocks;
  std::int64_t whole_blocks, shares;  // items that are a block, and of how many items the other blocks are
  std::int64_t chunks;                // of k

  ItemCut(std::int64_t count, std::int64_t tiles, std::int64_t steps) {
    constexpr std::int64_t kRowsMax = 256, kSharesPerThread = 4, kChunkSteps = 48;
    const std::int64_t threads = at::get_num_threads();
    block_rows = divide_up(divide_up(count, divide_up(count, kRowsMax)), kPairRows) * kPairRows;
    blocks = divide_up(count, block_rows);
    whole_blocks = blocks / threads * threads;
    shares = threads == 1 ? 1 : std::min(tiles, threads * kSharesPerThread);
    chunks = divide_up(steps, kChunkSteps);
  }
  std::int64_t items() const { return whole_blocks + (blocks - whole_blocks) * shares; }
};

// Some rows times some tiles.
struct Item {
  std::int64_t row, last_row, tile, last_tile;
};

inline Item item_of(const ItemCut& cut, std::int64_t i, std::int64_t count, std::int64_t tiles) {
  const bool is_whole = i < cut.whole_blocks;
  const std::int64_t rest = is_whole ? 0 : i - cut.whole_blocks;
  const std::int64_t block = is_whole ? i : cut.whole_blocks + rest / cut.shares;
  const std::int64_t share = rest % cut.shares, shares = is_whole ? 1 : cut.shares;
  const std::int64_t row = block * cut.block_rows;
  return {.row = row,
          .last_row = std::min(row + cut.block_rows, count),
          .tile = share * tiles / shares,
          .last_tile = (share + 1) * tiles / shares};
}

// The steps begin…end - 1 of k.
struct Steps {
  std::int64_t begin, end;

  std::int64_t count() const { return end - begin; }
  // The i-th of `parts` parts of them.
  Steps part(std::int64_t i, std::int64_t parts) const {
    return {begin + i * count() / parts, begin + (i + 1) * count() / parts};
  }
};

// Copies the rows first…last - 1 as above; rows up to the end of a pair are zero.
template <typename Number>
DIFFUSED_AVX512 void copy_in_tiles(const Rows<typename Number::Left>& x, std::int64_t first,
                                   std::int64_t last, const Steps& steps, char* to) {
  for (std::int64_t pair = first; pair < last; pair += kPairRows, to += steps.count() * kPanelStepBytes) {
    for (std::int64_t i = 0; i < kPairRows; ++i) {
      char* at = to + i * kStepBytes;
      const std::int64_t row = pair + i;
      const char* from =
          row < last ? reinterpret_cast<const char*>(x[row]) + steps.begin * kStepBytes : nullptr;
      for (std::int64_t step = 0; step < steps.count(); ++step, at += kPanelStepBytes) {
        const __m512i values =
            from == nullptr ? _mm512_setzero_si512() : _mm512_loadu_si512(from + step * kStepBytes);
        _mm512_store_si512(at, values);
      }
    }
  }
}

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

// What a thread works in.
struct TileWorkspace {
  TileRegisters registers;
  at::Tensor left, sums;
  std::int64_t copied_row = -1;  // of the block that `left` holds, where k is one chunk

  // An item's copied rows, from a line of memory on.
  char* left_bytes() const {
    const auto address = reinterpret_cast<std::uintptr_t>(left.data_ptr());
    return reinterpret_cast<char*>(divide_up(static_cast<std::int64_t>(address), kTileBytes) * kTileBytes);
  }
};

// The copied rows of an item times one tile, for a chunk of k.
template <typename Number, typename Finish>
void multiply_tile(const Product<Number>& p, const Item& item, std::int64_t tile, const Steps& chunk,
                   float* sums, TileWorkspace& work, const Finish& finish) {
  const std::int64_t steps = p.packing.units() / kStepUnits, column = tile * kTileColumns;
  const int vectors = vectors_of(p.packing.n - column);
  const std::int64_t rows = item.last_row - item.row, parts = divide_up(chunk.count(), kPartSteps);
  const char* const packed = reinterpret_cast<const char*>(p.packed + tile * p.packing.tile_values());
  RunProduct product{.stride = kStepBytes,
                     .step_bytes = kPanelStepBytes,
                     .panel_stride = steps * kPanelStepBytes,
                     .sums_stride = kSumsRowBytes};
  for (std::int64_t i = 0; i < parts; ++i) {
    const Steps part = chunk.part(i, parts);
    const bool is_last = part.end == steps;
    product.packed = packed + part.begin * kPanelStepBytes;
    product.steps = part.count();
    product.begins = part.begin == 0;
    for (std::int64_t panel = 0; 2 * panel < vectors; ++panel) {
      for (std::int64_t row = 0; row < rows; row += kPairRows) {
        const std::int64_t pair = row / kPairRows;
        product.ahead = product.part_ahead(panel, pair);
        product.x[0] =
            work.left_bytes() + (pair * chunk.count() + part.begin - chunk.begin) * kPanelStepBytes;
        product.x[1] = product.x[0] + kTileBytes;
        product.rows[0] = kRunRows;
        product.rows[1] = rows - row > kRunRows ? kRunRows : 0;
        product.sums[0] = sums + row * kTileColumns;
        product.sums[1] = product.sums[0] + kRunRows * kTileColumns;
        const std::int64_t count = std::min(kPairRows, rows - row);
        const bool is_done = is_last && 2 * panel + 2 >= vectors;
        for (std::int64_t i = 0; is_done && i < count; ++i) finish.expect(item.row + row + i, column);
        multiply_runs<Number>(product, panel, vectors, work.registers);
        if (!is_done) continue;
        with_vectors(p.packing.n - column, [&]<int kVectors>() {
          finish_rows<kVectors>(product.sums[0], count, item.row + row, column, finish);
        });
      }
    }
  }
}

template <typename Number, typename Finish>
void multiply_item_in_tiles(const Product<Number>& p, const ItemCut& cut, const Item& item,
                            TileWorkspace& work, const Finish& finish) {
  const Steps all{0, p.packing.units() / kStepUnits};
  for (std::int64_t i = 0; i < cut.chunks; ++i) {
    const Steps chunk = all.part(i, cut.chunks);
    if (cut.chunks > 1 || item.row != work.copied_row) {
      copy_in_tiles<Number>(p.x, item.row, item.last_row, chunk, work.left_bytes());
    }
    work.copied_row = item.row;
    for (std::int64_t tile = item.tile; tile < item.last_tile; ++tile) {
      float* const sums = work.sums.template mutable_data_ptr<float>();
      const std::int64_t at = cut.chunks == 1 ? 0 : (tile - item.tile) * cut.block_rows * kTileColumns;
      multiply_tile(p, item, tile, chunk, sums + at, work, finish);
    }
  }
}

template <typename Number, typename Finish>
void multiply_in_tiles(const Product<Number>& p, const Finish& finish) {
  const std::int64_t tiles = p.packing.tiles(), steps = p.packing.units() / kStepUnits;
  const ItemCut cut(p.x.count(), tiles, steps);
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), cut.items());
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    TileWorkspace work;
    const std::int64_t chunk_steps = divide_up(steps, cut.chunks), waiting = cut.chunks == 1 ? 1 : tiles;
    work.left =
        at::empty({cut.block_rows / kPairRows * chunk_steps * kPanelStepBytes + kTileBytes}, at::kByte);
    work.sums = at::empty({waiting * cut.block_rows * kTileColumns}, at::kFloat);
    for (std::int64_t item = next++; item < cut.items(); item = next++) {
      multiply_item_in_tiles(p, cut, item_of(cut, item, p.x.count(), tiles), work, finish);
    }
  });
}

}  // namespace diffused::kernels
