// The product of packed_matrix.h in AMX tiles, on processors that have them: eight registers of 16 rows x 64
// bytes. One instruction adds the product of a tile of A (16 rows of 16 units) and one of B (16 unit rows of
// 16 columns, 1 KB from end to end in the packed matrix) to a tile of 16 x 16 sums:
//
//                      tile 6   tile 7      16 unit rows, 32 columns of B: a panel
//   tile 4, 16 rows  │ tile 0 │ tile 1 │
//   tile 5, 16 rows  │ tile 2 │ tile 3 │    sums
//
// Four loads for four products, which take 64 cycles. The first-level cache gives four tiles in 32, the
// second one in some 20: so of the two sides one must come from the first. That is B's, a part of k at a
// time: 16 steps of a panel, 32 KB, stay there while all rows of A go by, and the sums wait in memory for the
// next part. As in the vector registers, sums run over k from first to last in float32 (of bytes in int32),
// and a row's result depends on that row alone.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/packed_matrix.h"

namespace diffused::kernels {

inline constexpr std::int64_t kRunRows = 16;    // rows of A in a tile
inline constexpr std::int64_t kStepBytes = 64;  // of k in a tile
inline constexpr std::int64_t kTileBytes = kRunRows * kStepBytes;
inline constexpr std::int64_t kPanelColumns = 2 * kLanes;        // of B at a time
inline constexpr std::int64_t kPanelStepBytes = 2 * kTileBytes;  // of B
inline constexpr std::int64_t kSumsRowBytes = 4 * kTileColumns;  // where sums of 64 columns wait
inline constexpr std::int64_t kPartSteps = 16;                   // of k at a time: see above
inline constexpr std::int64_t kLinesAhead = 4;                   // of memory, fetched at each step

// The instructions. The compiler cannot allocate these registers, so they have numbers.
template <int kTile>
inline __attribute__((always_inline)) void load_tile(const void* from, std::int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
// The same for what is read once and need not push out the first-level cache.
template <int kTile>
inline __attribute__((always_inline)) void stream_tile(const void* from, std::int64_t stride_bytes) {
  asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
inline __attribute__((always_inline)) void store_tile(void* to, std::int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride_bytes), "i"(kTile) : "memory");
}
template <int kTile>
inline __attribute__((always_inline)) void zero_tile_register() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <typename Number, int kSums, int kA, int kB>
inline __attribute__((always_inline)) void add_tile_product() {
  if constexpr (std::is_same_v<Number, Bytes>) {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  } else {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  }
}

// This thread's tile registers while it lives. One at a time in a thread.
class TileRegisters {
 public:
  TileRegisters() = default;
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;

  // Makes them fit two runs of so many rows of A, 1…16 and 0…16. What they hold is lost if they did not yet.
  void fit(std::int64_t first_rows, std::int64_t second_rows) {
    if (first_rows == rows_[0] && second_rows == rows_[1]) return;
    rows_[0] = first_rows;
    rows_[1] = second_rows;
    Shapes shapes;
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_of_second = tile == 2 || tile == 3 || tile == 5;
      const std::int64_t rows = tile >= 6 ? kStepUnits : is_of_second ? second_rows : first_rows;
      shapes.rows[tile] = static_cast<std::uint8_t>(rows > 0 ? rows : kRunRows);
      shapes.row_bytes[tile] = kStepBytes;
    }
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }

 private:
  // As the instruction reads it.
  struct Shapes {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  };

  std::int64_t rows_[2] = {};
};

// Two runs of rows of A times one tile of the packed B. A run is up to 16 rows that lie `stride` bytes apart;
// the second may be empty. The next step's values lie `step_bytes` behind those of one. k may lie in
// segments: after `steps` steps A goes on `segment_stride` bytes behind the beginning of the segment, while B
// goes on where it stands.
struct RunProduct {
  const char* x[2] = {};
  std::int64_t rows[2] = {};
  std::int64_t stride = 0, step_bytes = kStepBytes;
  const char* packed = nullptr;   // of the first panel
  std::int64_t panel_stride = 0;  // bytes from one panel to the next
  std::int64_t steps = 0;
  std::int64_t segments = 1, segment_stride = 0;
  float* sums[2] = {};           // of each run: where those of its first row and B's first column go
  std::int64_t sums_stride = 0;  // bytes
  bool begins = true;            // whether the sums begin with zero, not with what lies there
  const char* ahead = nullptr;   // memory to fetch into the second-level cache meanwhile; or null

  // What the i-th pair of runs should fetch ahead of what comes after these steps of the panel: the same
  // steps of the second panel, and then about the next ones of the first.
  const char* part_ahead(std::int64_t panel, std::int64_t i) const {
    const std::int64_t all_steps = steps * segments;
    const char* const next = packed + (panel == 0 ? panel_stride : all_steps * kPanelStepBytes);
    const bool is_under_way = i >= kPanelStepBytes / (kLinesAhead * kLineBytes);
    return is_under_way ? nullptr : next + i * all_steps * kLinesAhead * kLineBytes;
  }
};

// Which side of a product is not to stay in the first-level cache.
enum class Streamed { a, b };

template <int kTile, bool kStreamed>
inline __attribute__((always_inline)) void load_or_stream(const void* from, std::int64_t stride_bytes) {
  if constexpr (kStreamed) {
    stream_tile<kTile>(from, stride_bytes);
  } else {
    load_tile<kTile>(from, stride_bytes);
  }
}

// One step: the tiles of A begin at first and second, those of B at packed.
template <typename Number, bool kTwoRuns, bool kBoth, Streamed kStreamed = Streamed::a>
inline __attribute__((always_inline)) void multiply_step(const char* first, const char* second,
                                                         std::int64_t stride, const char* packed) {
  load_or_stream<4, kStreamed == Streamed::a>(first, stride);
  load_or_stream<6, kStreamed == Streamed::b>(packed, kStepBytes);
  add_tile_product<Number, 0, 4, 6>();
  if constexpr (kBoth) {
    load_or_stream<7, kStreamed == Streamed::b>(packed + kTileBytes, kStepBytes);
    add_tile_product<Number, 1, 4, 7>();
  }
  if constexpr (kTwoRuns) {
    load_or_stream<5, kStreamed == Streamed::a>(second, stride);
    add_tile_product<Number, 2, 5, 6>();
    if constexpr (kBoth) add_tile_product<Number, 3, 5, 7>();
  }
}

// The columns panel * 32 and the 31 after it; without kBoth 15.
template <typename Number, bool kTwoRuns, bool kBoth>
void multiply_panel(const RunProduct& p, std::int64_t panel) {
  const auto sums = [&](int run, int half) { return p.sums[run] + panel * kPanelColumns + half * kLanes; };
  if (p.begins) {
    zero_tile_register<0>();
    zero_tile_register<1>();
    zero_tile_register<2>();
    zero_tile_register<3>();
  } else {
    load_tile<0>(sums(0, 0), p.sums_stride);
    if constexpr (kBoth) load_tile<1>(sums(0, 1), p.sums_stride);
    if constexpr (kTwoRuns) load_tile<2>(sums(1, 0), p.sums_stride);
    if constexpr (kTwoRuns && kBoth) load_tile<3>(sums(1, 1), p.sums_stride);
  }
  const char* packed = p.packed + panel * p.panel_stride;
  const char* ahead = p.ahead;
  for (std::int64_t segment = 0; segment < p.segments; ++segment) {
    const char* first = p.x[0] + segment * p.segment_stride;
    const char* second = p.x[1] + segment * p.segment_stride;
    for (std::int64_t step = 0; step < p.steps; ++step) {
      if (ahead != nullptr) {
        for (std::int64_t line = 0; line < kLinesAhead; ++line, ahead += kLineBytes) {
          _mm_prefetch(ahead, _MM_HINT_T1);
        }
      }
      multiply_step<Number, kTwoRuns, kBoth>(first, second, p.stride, packed);
      first += p.step_bytes;
      second += p.step_bytes;
      packed += kPanelStepBytes;
    }
  }
  store_tile<0>(sums(0, 0), p.sums_stride);
  if constexpr (kBoth) store_tile<1>(sums(0, 1), p.sums_stride);
  if constexpr (kTwoRuns) store_tile<2>(sums(1, 0), p.sums_stride);
  if constexpr (kTwoRuns && kBoth) store_tile<3>(sums(1, 1), p.sums_stride);
}

// Multiplies with the columns of one panel of a tile whose first 16 * vectors columns, 1…4 vectors, are
// wanted.
template <typename Number>
void multiply_runs(const RunProduct& p, std::int64_t panel, int vectors, TileRegisters& registers) {
  registers.fit(p.rows[0], p.rows[1]);
  const bool both = 2 * panel + 1 < vectors;
  if (p.rows[1] > 0) {
    both ? multiply_panel<Number, true, true>(p, panel) : multiply_panel<Number, true, false>(p, panel);
  } else {
    both ? multiply_panel<Number, false, true>(p, panel) : multiply_panel<Number, false, false>(p, panel);
  }
}

// The same with all panels in turn.
template <typename Number>
void multiply_runs(const RunProduct& p, int vectors, TileRegisters& registers) {
  for (int panel = 0; 2 * panel < vectors; ++panel) multiply_runs<Number>(p, panel, vectors, registers);
}

}  // namespace diffused::kernels
