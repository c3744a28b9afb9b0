// An item of work is a patch of pixels of one image. Its pixels and their neighbours are copied into a buffer
// of the thread, on the way through SiLU and the scale of the norm, zeros where the image ends:
//
//   x [H, W, C]  →  patch [rows + 2, columns + 2, C]
//
// There the k neighbours of a pixel that lie in one row are k * C values side by side, so a result pixel is
// the sum of k products with parts of the packed weight (k rows one after the other), and six pixels at a
// time go through the register tile of packed_matrix.h, or up to 32 through those of tiles_amx.h. The patch
// and a tile of the weight, or a part of it where it is tall, stay in the second-level cache. Compared with a
// norm, an activation, a doubling and additions of their own, the picture is read and written once instead
// of five times.
#include "kernels/conv_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "base/check.h"
#include "kernels/conv_patch.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {
namespace {

constexpr std::int64_t kItemsPerThread = 8;  // enough that threads end at about the same time

// Up to six result pixels: where their part of the patch begins, and where their first value goes.
template <typename Value>
struct Six {
  const Value* x[kTileRows];
  std::int64_t y[kTileRows];
  int count;
};

// A part of a tile that goes through all sixes of a patch before the next: rows first…last - 1 of the
// kernel, and of each the units begin…end - 1.
struct Part {
  std::int64_t first_row, last_row, begin, end;

  // Lines of memory that the products of one six fetch ahead; for each of the kernel's rows.
  std::int64_t lines_ahead() const { return (end - begin) / kUnitsPerLine; }
};

// A tile of at most `whole_units` in one part; the rows of a taller one each in parts of at most part_units.
std::vector<Part> parts_of(std::int64_t kernel, std::int64_t row_units, std::int64_t whole_units,
                           std::int64_t part_units) {
  if (kernel * row_units <= whole_units) return {{0, kernel, 0, row_units}};
  std::vector<Part> parts;
  const std::int64_t pieces = divide_up(row_units, part_units), steps = row_units / kStepUnits;
  for (std::int64_t row = 0; row < kernel; ++row) {
    for (std::int64_t piece = 0; piece < pieces; ++piece)
      parts.push_back({row, row + 1, piece * steps / pieces * kStepUnits,
                       piece + 1 < pieces ? (piece + 1) * steps / pieces * kStepUnits : row_units});
  }
  return parts;
}

// One tile of a phase's weight.
template <typename Number>
struct WeightTile {
  using Value = typename Number::Value;

  // biases: of the image.
  WeightTile(const PackedWeight& weight, std::int64_t tile, std::int64_t kernel, const float* biases)
      : row_units(Packing<Number>{weight.in, weight.out}.units() / kernel),
        first(tile * kTileColumns),
        columns(weight.out - first),
        values(static_cast<const Value*>(weight.values.const_data_ptr()) +
               tile * Packing<Number>{weight.in, weight.out}.tile_values()),
        bias(biases + first) {}

  const Value* unit(std::int64_t row, std::int64_t unit) const {
    return values + (row * row_units + unit) * Number::kUnitValues * kTileColumns;
  }
  // Where a step of the first panel begins, in the order for AMX.
  const char* step(std::int64_t row, std::int64_t unit) const {
    return reinterpret_cast<const char*>(values) + (row * row_units + unit) / kStepUnits * kPanelStepBytes;
  }

  std::int64_t row_units;       // of the neighbours in one row
  std::int64_t first, columns;  // of the result's channels
  const Value* values;
  const float* bias;
};

// y: where the pixel's first value goes.
template <typename Number, int kVectors>
DIFFUSED_AVX512_INLINE void finish_pixel(const ConvProblem<Number>& p, const WeightTile<Number>& weight,
                                         std::int64_t y, const __m512 (&sums)[kVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 lanes = first_lanes(weight.columns - v * kLanes);
    const std::int64_t at = y + weight.first + v * kLanes;
    __m512 result = _mm512_add_ps(sums[v], _mm512_loadu_ps(weight.bias + v * kLanes));
    if (p.added) result = _mm512_add_ps(result, Number::load(p.added + at, lanes));
    Number::store(p.y.data + at, result, lanes);
  }
}

// Where a six stands between the parts: `waiting` holds its sums, `ahead` is memory to fetch meanwhile, or
// null.
struct Between {
  float* waiting;
  const char* ahead;
};

template <typename Number, int kVectors>
DIFFUSED_AVX512 void product_tile(const ConvProblem<Number>& p, const WeightTile<Number>& weight,
                                  const Part& part, std::int64_t row_values,
                                  const Six<typename Number::Left>& six, const Between& between) {
  const bool is_first = part.first_row == 0 && part.begin == 0;
  const bool is_last = part.last_row == p.kernel && part.end == weight.row_units;
  Tile<kVectors> sums = is_first ? zero_tile<kVectors>() : waiting_tile<kVectors>(between.waiting);
  for (std::int64_t row = part.first_row; row < part.last_row; ++row) {
    const typename Number::Left* x[kTileRows];
#pragma GCC unroll 6
    for (int i = 0; i < kTileRows; ++i) x[i] = six.x[i] + row * row_values + part.begin * Number::kUnitValues;
    const auto* const tile = weight.unit(row, part.begin);
    if (between.ahead != nullptr) {
      add_products<Number, kVectors, true>(
          x, tile, part.end - part.begin, sums,
          between.ahead + (row - part.first_row) * part.lines_ahead() * kLineBytes);
    } else {
      add_products<Number, kVectors>(x, tile, part.end - part.begin, sums);
    }
  }
  if (is_last) {
#pragma GCC unroll 6
    for (int i = 0; i < kTileRows; ++i) {
      if (i < six.count) finish_pixel<Number, kVectors>(p, weight, six.y[i], sums.sum[i]);
    }
  } else {
    let_wait(sums, between.waiting);
  }
}

// The result pixels of a patch that lie `down` and `right` in their square of scale x scale, for one tile of
// that phase's weight. `waiting`: memory for the sums of the patch.
template <typename Number>
void convolve(const ConvProblem<Number>& p, const Patch& patch, const typename Number::Left* filled,
              std::int64_t phase, std::int64_t tile, float* waiting) {
  const WeightTile<Number> weight(p.phases[phase], tile, p.kernel, p.biases + patch.image * p.image_biases);
  const std::int64_t down = phase / p.scale, right = phase % p.scale;
  const std::int64_t row_values = (patch.columns + 2 * p.margin) * p.x.channels;
  const auto six_from = [&](std::int64_t first) {
    Six<typename Number::Left> six;
    six.count = static_cast<int>(std::min(kTileRows, patch.rows * patch.columns - first));
    for (int i = 0; i < kTileRows; ++i) {
      const std::int64_t pixel = first + std::min(i, six.count - 1);  // a last, partial six repeats its last
      const std::int64_t row = pixel / patch.columns, column = pixel % patch.columns;
      six.x[i] = filled + (row + down) * row_values + (column + right) * p.x.channels;
      six.y[i] = p.y.pixel(patch.image, (patch.top + row) * p.scale + down,
                           (patch.left + column) * p.scale + right) -
                 p.y.data;
    }
    return six;
  };
  const std::vector<Part> parts = parts_of(p.kernel, weight.row_units, 2 * kPartUnits, kPartUnits);
  with_vectors(weight.columns, [&]<int kVectors>() {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      // The next part; of the last one the next tile, which lies behind this one.
      const auto* const next = reinterpret_cast<const char*>(
          i + 1 < parts.size() ? weight.unit(parts[i + 1].first_row, parts[i + 1].begin)
                               : weight.unit(p.kernel, 0));
      const std::int64_t six_bytes = (part.last_row - part.first_row) * part.lines_ahead() * kLineBytes;
      for (std::int64_t first = 0; first < patch.rows * patch.columns; first += kTileRows) {
        // A unit row is four lines: after so many sixes all is under way.
        const std::int64_t six = first / kTileRows;
        const char* const ahead = six < 4 * kUnitsPerLine ? next + six * six_bytes : nullptr;
        product_tile<Number, kVectors>(p, weight, part, row_values, six_from(first),
                                       {waiting + first * kTileColumns, ahead});
      }
    }
  });
}

// Up to 16 result pixels side by side.
struct PixelRun {
  std::int64_t x;      // where their part of the patch begins, in values
  std::int64_t y;      // where the first value of the first goes
  std::int64_t first;  // of the patch's pixels
  std::int64_t count;
};

template <typename Number, int kVectors>
DIFFUSED_AVX512 void finish_run(const ConvProblem<Number>& p, const WeightTile<Number>& weight,
                                const PixelRun& run, const float* sums) {
  for (std::int64_t i = 0; i < run.count; ++i, sums += kTileColumns) {
    __m512 values[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) values[v] = _mm512_loadu_ps(sums + v * kLanes);
    finish_pixel<Number, kVectors>(p, weight, run.y + i * p.scale * p.y.channels, values);
  }
}

// What convolve() does, in tiles: a part of the weight's panel of 32 columns stays in the first-level cache
// while all runs of the patch go by.
template <typename Number>
void convolve_in_tiles(const ConvProblem<Number>& p, const Patch& patch, const typename Number::Left* filled,
                       std::int64_t phase, std::int64_t tile, float* waiting, TileRegisters& registers) {
  constexpr std::int64_t kBytes = sizeof(typename Number::Left), kPartUnitsMax = kPartSteps * kStepUnits;
  const WeightTile<Number> weight(p.phases[phase], tile, p.kernel, p.biases + patch.image * p.image_biases);
  const std::int64_t down = phase / p.scale, right = phase % p.scale;
  const std::int64_t row_values = (patch.columns + 2 * p.margin) * p.x.channels;
  const std::int64_t row_runs = divide_up(patch.columns, kRunRows), runs = patch.rows * row_runs;
  const auto run_at = [&](std::int64_t i) {
    const std::int64_t row = i / row_runs, column = i % row_runs * kRunRows;
    return PixelRun{.x = (row + down) * row_values + (column + right) * p.x.channels,
                    .y = p.y.pixel(patch.image, (patch.top + row) * p.scale + down,
                                   (patch.left + column) * p.scale + right) -
                         p.y.data,
                    .first = row * patch.columns + column,
                    .count = std::min(kRunRows, patch.columns - column)};
  };
  const int vectors = vectors_of(weight.columns);
  for (const Part& part : parts_of(p.kernel, weight.row_units, kPartUnitsMax, kPartUnitsMax)) {
    const bool is_last = part.last_row == p.kernel && part.end == weight.row_units;
    const std::int64_t x = part.first_row * row_values + part.begin * Number::kUnitValues;
    RunProduct product{.stride = p.x.channels * kBytes,
                       .packed = weight.step(part.first_row, part.begin),
                       .panel_stride = p.kernel * weight.row_units / kStepUnits * kPanelStepBytes,
                       .steps = (part.end - part.begin) / kStepUnits,
                       .segments = part.last_row - part.first_row,
                       .segment_stride = row_values * kBytes,
                       .sums_stride = kSumsRowBytes,
                       .begins = part.first_row == 0 && part.begin == 0};
    for (std::int64_t panel = 0; 2 * panel < vectors; ++panel) {
      const bool is_done = is_last && 2 * panel + 2 >= vectors;
      for (std::int64_t i = 0; i < runs; i += 2) {
        const PixelRun run[] = {run_at(i), run_at(std::min(i + 1, runs - 1))};
        for (const int k : {0, 1}) {
          product.x[k] = reinterpret_cast<const char*>(filled + run[k].x + x);
          product.rows[k] = i + k < runs ? run[k].count : 0;
          product.sums[k] = waiting + run[k].first * kTileColumns;
        }
        product.ahead = product.part_ahead(panel, i / 2);
        multiply_runs<Number>(product, panel, vectors, registers);
        if (!is_done) continue;
        with_vectors(weight.columns, [&]<int kVectors>() {
          finish_run<Number, kVectors>(p, weight, run[0], product.sums[0]);
          if (i + 1 < runs) finish_run<Number, kVectors>(p, weight, run[1], product.sums[1]);
        });
      }
    }
  }
}

// An item is a patch and a share of all phases' tiles: all of them, or fewer where patches are few.
template <typename Number>
void run(const ConvProblem<Number>& p, std::int64_t images) {
  const Patches patches(images, p.x.height, p.x.width, p.width_max());
  const std::int64_t tiles = p.phases.front().values.size(0);
  const std::int64_t jobs = tiles * static_cast<std::int64_t>(p.phases.size());  // of a patch
  const std::int64_t items_wanted = at::get_num_threads() * kItemsPerThread;
  const std::int64_t shares = std::min(jobs, divide_up(items_wanted, patches.count()));
  const std::int64_t items = patches.count() * shares;
  const std::int64_t buffer_values =
      (kPatchRows + 2 * p.margin) * (patches.columns_max() + 2 * p.margin) * p.x.channels;
  std::atomic<std::int64_t> next{0};
  at::parallel_for(
      0, std::min<std::int64_t>(at::get_num_threads(), items), 1, [&](std::int64_t, std::int64_t) {
        const at::Tensor buffer =
            at::empty({buffer_values * static_cast<std::int64_t>(sizeof(typename Number::Left))}, at::kByte);
        auto* const filled = static_cast<typename Number::Left*>(buffer.mutable_data_ptr());
        const at::Tensor waiting =
            at::empty({divide_up(kPatchRows * patches.columns_max(), kTileRows) * kTileRows * kTileColumns},
                      at::kFloat);
        std::optional<TileRegisters> registers;
        if (p.in_tiles()) registers.emplace();
        std::int64_t filled_patch = -1;
        for (std::int64_t item = next++; item < items; item = next++) {
          const Patch patch = patches[item / shares];
          if (item / shares != filled_patch) fill_patch(p, patch, filled);
          filled_patch = item / shares;
          const std::int64_t share = item % shares;
          for (std::int64_t job = share * jobs / shares; job < (share + 1) * jobs / shares; ++job) {
            float* const sums = waiting.mutable_data_ptr<float>();
            if constexpr (kHasTiles<Number>) {
              if (registers) {
                convolve_in_tiles(p, patch, filled, job / tiles, job % tiles, sums, *registers);
                continue;
              }
            }
            convolve(p, patch, filled, job / tiles, job % tiles, sums);
          }
        }
      });
}

// [out, in, k, k] → [out, k * k * in], the channels of a pixel together.
at::Tensor pixel_major(const at::Tensor& weight) { return weight.permute({0, 2, 3, 1}).flatten(1); }

// The 2 x 2 weight of the result pixels `down`, `right` in their squares of a doubled picture. In one
// direction an even pixel sees the neighbour before through the first third, itself twice through the others;
// an odd one itself through the first two, the neighbour after through the last.
at::Tensor doubled_weight(const at::Tensor& weight, int down, int right) {
  const auto folded = [](const at::Tensor& w, int dimension, int odd) {
    const auto part = [&](int begin, int count) { return w.narrow(dimension, begin, count).sum(dimension); };
    return at::stack({part(0, 1 + odd), part(1 + odd, 2 - odd)}, dimension);
  };
  return folded(folded(weight.to(at::kFloat), 2, down), 3, right).to(weight.scalar_type());
}

// bias: [padded]; shift: [B, out] or undefined → their sums, [B, padded]; or the bias alone.
at::Tensor biases_of(const at::Tensor& bias, const at::Tensor& shift) {
  if (!shift.defined()) return bias;
  return bias + at::constant_pad_nd(shift.to(at::kFloat), {0, bias.size(0) - shift.size(1)});
}

}  // namespace

bool PackedConv::takes(const at::Tensor& weight) {
  return weight.device().is_cpu() && has_avx512_for(weight.scalar_type()) && weight.dim() == 4 &&
         weight.size(1) % kLanes == 0 && weight.size(2) == weight.size(3) &&
         (weight.size(2) == 1 || weight.size(2) == 3);
}

PackedConv::PackedConv(const at::Tensor& weight, const at::Tensor& bias, Doubling doubling)
    : in_(weight.size(1)), kernel_(doubling == Doubling::nearest ? 2 : weight.size(2)), doubling_(doubling) {
  CHECK(takes(weight) && (doubling == Doubling::none || weight.size(2) == 3));
  if (doubling == Doubling::none) {
    phases_.emplace_back(pixel_major(weight), bias);
    return;
  }
  for (const int down : {0, 1}) {
    for (const int right : {0, 1})
      phases_.emplace_back(pixel_major(doubled_weight(weight, down, right)), bias);
  }
}

bool PackedConv::takes_input(const at::Tensor& x) const {
  return x.device().is_cpu() && x.dim() == 4 && x.size(1) == in_ && x.numel() > 0 &&
         x.scalar_type() == phases_.front().values.scalar_type() &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor PackedConv::operator()(const at::Tensor& x, const ConvOptions& options) const {
  CHECK(takes_input(x));
  const std::int64_t scale = doubling_ == Doubling::nearest ? 2 : 1;
  const at::Tensor y = at::empty({x.size(0), phases_.front().out, scale * x.size(2), scale * x.size(3)},
                                 x.options(), at::MemoryFormat::ChannelsLast);
  CHECK(!options.added.defined() ||
        (options.added.sizes() == y.sizes() && options.added.is_contiguous(at::MemoryFormat::ChannelsLast)));
  const at::Tensor biases = biases_of(phases_.front().bias, options.shift);
  with_multiplied_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    run(
        ConvProblem<Number>{
            .x = Images<Value>(x),
            .y = Images<Value>(y),
            .added =
                options.added.defined() ? static_cast<const Value*>(options.added.const_data_ptr()) : nullptr,
            .factors = options.silu_of ? options.silu_of->factors.const_data_ptr<float>() : nullptr,
            .offsets = options.silu_of ? options.silu_of->offsets.const_data_ptr<float>() : nullptr,
            .biases = biases.const_data_ptr<float>(),
            .image_biases = options.shift.defined() ? biases.stride(0) : 0,
            .phases = phases_,
            .kernel = kernel_,
            .margin = kernel_ == 1 ? 0 : 1,
            .scale = scale},
        x.size(0));
  });
  return y;
}

}  // namespace diffused::kernels
