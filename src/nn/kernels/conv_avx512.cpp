// An item of work is a patch of pixels of one image. Its pixels and their neighbours are copied into a buffer
// of the thread, on the way through SiLU and the scale of the norm, zeros where the image ends:
//
//   x [H, W, C]  →  patch [rows + 2, columns + 2, C]
//
// There the k neighbours of a pixel that lie in one row are k * C values side by side, so a result pixel is
// the sum of k products with parts of the packed weight (k rows one after the other), and six pixels at a
// time go through the register tile of packed_matrix.h. The patch and a tile of the weight, or a part of it
// where it is tall, stay in the second-level cache. Compared with a norm, an activation, a doubling and an
// addition of their own, the picture is read and written once instead of five times.
#include "nn/kernels/conv_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "nn/kernels/packed_matrix.h"
#include "nn/kernels/processor.h"

namespace diffused::nn::avx512 {
namespace {

constexpr std::int64_t kPatchBytesMax = 320 << 10;  // leaves room for a tile of the weight
constexpr std::int64_t kPatchRows = 8;
constexpr std::int64_t kItemsPerThread = 8;  // enough that threads end at about the same time

// Images [B, H, W, C] in memory.
template <typename Value>
struct Images {
  explicit Images(const at::Tensor& x)
      : data(static_cast<Value*>(x.data_ptr())), height(x.size(2)), width(x.size(3)), channels(x.size(1)) {}
  Value* pixel(std::int64_t image, std::int64_t row, std::int64_t column) const {
    return data + ((image * height + row) * width + column) * channels;
  }

  Value* data;
  std::int64_t height, width, channels;
};

template <typename Number>
struct Problem {
  using Value = typename Number::Value;

  Images<Value> x, y;
  const Value* added;              // laid out as y, or null
  const float *factors, *offsets;  // [B, C], or null
  std::span<const PackedWeight> phases;
  std::int64_t kernel;  // pixels a result pixel sees in a row
  std::int64_t margin;  // pixels of the patch before its first and after its last result pixel
  std::int64_t scale;   // result pixels per pixel, in one direction

  std::int64_t width_max() const {
    const std::int64_t columns = kPatchBytesMax / ((kPatchRows + 2) * x.channels * sizeof(Value));
    return std::max<std::int64_t>(columns - 2, kTileRows);
  }
};

// A rectangle of an image's pixels.
struct Patch {
  std::int64_t image, top, left, rows, columns;
};

// All images cut into patches of about equal size.
class Patches {
 public:
  Patches(std::int64_t images, std::int64_t height, std::int64_t width, std::int64_t width_max)
      : height_(height),
        width_(width),
        bands_(divide_up(height, kPatchRows)),
        strips_(divide_up(width, width_max)),
        columns_(divide_up(width, strips_)),
        count_(images * bands_ * strips_) {}
  std::int64_t count() const { return count_; }
  std::int64_t columns_max() const { return columns_; }
  Patch operator[](std::int64_t i) const {
    const std::int64_t top = i / strips_ % bands_ * kPatchRows, left = i % strips_ * columns_;
    return {i / strips_ / bands_, top, left, std::min(kPatchRows, height_ - top),
            std::min(columns_, width_ - left)};
  }

 private:
  std::int64_t height_, width_, bands_, strips_, columns_, count_;
};

template <typename Number>
DIFFUSED_AVX512 void scaled_silu(const typename Number::Value* x, const float* factors, const float* offsets,
                                 std::int64_t channels, typename Number::Value* y) {
  for (std::int64_t c = 0; c < channels; c += kLanes) {
    const __m512 z =
        _mm512_fmadd_ps(Number::load(x + c), _mm512_loadu_ps(factors + c), _mm512_loadu_ps(offsets + c));
    Number::store(y + c, _mm512_mul_ps(z, sigmoid(z)));
  }
}

template <typename Number>
void fill(const Problem<Number>& p, const Patch& patch, typename Number::Value* to) {
  const std::int64_t channels = p.x.channels, margin = p.margin;
  const std::size_t pixel_bytes = channels * sizeof(typename Number::Value);
  const std::int64_t first = std::max<std::int64_t>(patch.left - margin, 0);
  const std::int64_t last = std::min(patch.left + patch.columns + margin, p.x.width);
  const std::int64_t before = first - (patch.left - margin),
                     after = patch.left + patch.columns + margin - last;
  for (std::int64_t row = patch.top - margin; row < patch.top + patch.rows + margin; ++row) {
    const bool inside = row >= 0 && row < p.x.height;
    const std::int64_t zeros = inside ? before : patch.columns + 2 * margin;
    std::memset(to, 0, zeros * pixel_bytes);
    to += zeros * channels;
    if (!inside) continue;
    const auto* from = p.x.pixel(patch.image, row, first);
    if (!p.factors) {
      std::memcpy(to, from, (last - first) * pixel_bytes);
    } else {
      for (std::int64_t i = 0; i < last - first; ++i) {
        scaled_silu<Number>(from + i * channels, p.factors + patch.image * channels,
                            p.offsets + patch.image * channels, channels, to + i * channels);
      }
    }
    to += (last - first) * channels;
    std::memset(to, 0, after * pixel_bytes);
    to += after * channels;
  }
}

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

// A short tile in one part; the rows of a tall one each in parts that the second-level cache keeps.
std::vector<Part> parts_of(std::int64_t kernel, std::int64_t row_units) {
  if (kernel * row_units <= 2 * kPartUnits) return {{0, kernel, 0, row_units}};
  std::vector<Part> parts;
  const std::int64_t pieces = divide_up(row_units, kPartUnits);
  for (std::int64_t row = 0; row < kernel; ++row) {
    for (std::int64_t piece = 0; piece < pieces; ++piece)
      parts.push_back({row, row + 1, piece * row_units / pieces, (piece + 1) * row_units / pieces});
  }
  return parts;
}

// One tile of a phase's weight.
template <typename Number>
struct WeightTile {
  using Value = typename Number::Value;

  WeightTile(const PackedWeight& weight, std::int64_t tile, std::int64_t kernel)
      : row_units(Packing<Number>{weight.in, weight.out}.units() / kernel),
        first(tile * kTileColumns),
        columns(weight.out - first),
        values(static_cast<const Value*>(weight.values.const_data_ptr()) +
               tile * Packing<Number>{weight.in, weight.out}.tile_values()),
        bias(weight.bias.const_data_ptr<float>() + first) {}

  const Value* unit(std::int64_t row, std::int64_t unit) const {
    return values + (row * row_units + unit) * Number::kUnitValues * kTileColumns;
  }

  std::int64_t row_units;       // of the neighbours in one row
  std::int64_t first, columns;  // of the result's channels
  const Value* values;
  const float* bias;
};

template <typename Number, int kVectors>
DIFFUSED_AVX512_INLINE void finish_tile(const Problem<Number>& p, const WeightTile<Number>& weight,
                                        const Six<typename Number::Value>& six, const Tile<kVectors>& sums) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 lanes = first_lanes(weight.columns - v * kLanes);
    const __m512 offset = _mm512_loadu_ps(weight.bias + v * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kTileRows; ++i) {
      if (i >= six.count) continue;
      const std::int64_t at = six.y[i] + weight.first + v * kLanes;
      __m512 result = _mm512_add_ps(sums.sum[i][v], offset);
      if (p.added) result = _mm512_add_ps(result, Number::load(p.added + at, lanes));
      Number::store(p.y.data + at, result, lanes);
    }
  }
}

// Where a six stands between the parts: `waiting` holds its sums, `ahead` is memory to fetch meanwhile, or
// null.
struct Between {
  float* waiting;
  const char* ahead;
};

template <typename Number, int kVectors>
DIFFUSED_AVX512 void product_tile(const Problem<Number>& p, const WeightTile<Number>& weight,
                                  const Part& part, std::int64_t row_values,
                                  const Six<typename Number::Value>& six, const Between& between) {
  const bool is_first = part.first_row == 0 && part.begin == 0;
  const bool is_last = part.last_row == p.kernel && part.end == weight.row_units;
  Tile<kVectors> sums = is_first ? zero_tile<kVectors>() : waiting_tile<kVectors>(between.waiting);
  for (std::int64_t row = part.first_row; row < part.last_row; ++row) {
    const typename Number::Value* x[kTileRows];
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
    finish_tile<Number, kVectors>(p, weight, six, sums);
  } else {
    let_wait(sums, between.waiting);
  }
}

// The result pixels of a patch that lie `down` and `right` in their square of scale x scale, for one tile of
// that phase's weight. `waiting`: memory for the sums of the patch.
template <typename Number>
void convolve(const Problem<Number>& p, const Patch& patch, const typename Number::Value* filled,
              std::int64_t phase, std::int64_t tile, float* waiting) {
  const WeightTile<Number> weight(p.phases[phase], tile, p.kernel);
  const std::int64_t down = phase / p.scale, right = phase % p.scale;
  const std::int64_t row_values = (patch.columns + 2 * p.margin) * p.x.channels;
  const auto six_from = [&](std::int64_t first) {
    Six<typename Number::Value> six;
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
  const std::vector<Part> parts = parts_of(p.kernel, weight.row_units);
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

// An item is a patch and a share of all phases' tiles: all of them, or fewer where patches are few.
template <typename Number>
void run(const Problem<Number>& p, std::int64_t images) {
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
            at::empty({buffer_values * static_cast<std::int64_t>(sizeof(typename Number::Value))}, at::kByte);
        auto* const filled = static_cast<typename Number::Value*>(buffer.mutable_data_ptr());
        const at::Tensor waiting =
            at::empty({divide_up(kPatchRows * patches.columns_max(), kTileRows) * kTileRows * kTileColumns},
                      at::kFloat);
        std::int64_t filled_patch = -1;
        for (std::int64_t item = next++; item < items; item = next++) {
          const Patch patch = patches[item / shares];
          if (item / shares != filled_patch) fill(p, patch, filled);
          filled_patch = item / shares;
          const std::int64_t share = item % shares;
          for (std::int64_t job = share * jobs / shares; job < (share + 1) * jobs / shares; ++job) {
            convolve(p, patch, filled, job / tiles, job % tiles, waiting.mutable_data_ptr<float>());
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
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    run(
        Problem<Number>{
            .x = Images<Value>(x),
            .y = Images<Value>(y),
            .added =
                options.added.defined() ? static_cast<const Value*>(options.added.const_data_ptr()) : nullptr,
            .factors = options.silu_of ? options.silu_of->factors.const_data_ptr<float>() : nullptr,
            .offsets = options.silu_of ? options.silu_of->offsets.const_data_ptr<float>() : nullptr,
            .phases = phases_,
            .kernel = kernel_,
            .margin = kernel_ == 1 ? 0 : 1,
            .scale = scale},
        x.size(0));
  });
  return y;
}

}  // namespace diffused::nn::avx512
