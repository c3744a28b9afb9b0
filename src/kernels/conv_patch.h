// The pixels that a convolution of conv_avx512.cpp works on at a time, copied with what they see.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "kernels/packed_matrix.h"
#include "kernels/packed_weight.h"
#include "kernels/tiles_amx.h"

namespace diffused::kernels {

// These leave room for a tile of the weight. Processors with AMX have larger caches, and want longer rows.
inline constexpr std::int64_t kPatchBytesMax = 320 << 10, kPatchBytesMaxInTiles = 832 << 10;
inline constexpr std::int64_t kPatchRows = 8;

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
struct ConvProblem {
  using Value = typename Number::Value;

  Images<Value> x, y;
  const Value* added;              // laid out as y, or null
  const float *factors, *offsets;  // [B, C], or null
  const float* biases;             // [tiles * 64], or as many for each image
  std::int64_t image_biases;       // from those of one image to the next's; 0 where all have the same
  std::span<const PackedWeight> phases;
  std::int64_t kernel;  // pixels a result pixel sees in a row
  std::int64_t margin;  // pixels of the patch before its first and after its last result pixel
  std::int64_t scale;   // result pixels per pixel, in one direction

  bool in_tiles() const { return Packing<Number>{phases.front().in, phases.front().out}.for_amx; }
  std::int64_t width_max() const {
    const std::int64_t bytes = in_tiles() ? kPatchBytesMaxInTiles : kPatchBytesMax;
    const std::int64_t columns = bytes / ((kPatchRows + 2) * x.channels * sizeof(typename Number::Left));
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
                                 std::int64_t channels, typename Number::Left* y) {
  for (std::int64_t c = 0; c < channels; c += kLanes) {
    const __m512 z =
        _mm512_fmadd_ps(Number::load(x + c), _mm512_loadu_ps(factors + c), _mm512_loadu_ps(offsets + c));
    Number::store_left(y + c, _mm512_mul_ps(z, sigmoid(z)));
  }
}

template <typename Number>
void fill_patch(const ConvProblem<Number>& p, const Patch& patch, typename Number::Left* to) {
  const std::int64_t channels = p.x.channels, margin = p.margin;
  const std::size_t pixel_bytes = channels * sizeof(typename Number::Left);
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
      copy_left<Number>(from, (last - first) * channels, to);
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

}  // namespace diffused::kernels
