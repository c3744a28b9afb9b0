// channels_last memory is a matrix [pixels, C] per image, so a register holds 16 channels of a pixel:
//
//   pass 1   for each strip of pixels: the sums of x and x² of each channel           reads x
//            strips → channels → groups → per channel: factor a, offset b
//   pass 2   y = silu(a x + b)                                                        reads x, writes y
//
// Two reads and a write are all the memory traffic; ATen's GroupNorm and SiLU make more than twice as many
// and spend most of their time elsewhere. Strips are cut by the size of the image, not by the number of
// threads, and added up in order.
#include "kernels/group_norm_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/packed_matrix.h"
#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

constexpr std::int64_t kStripValues = 1 << 17;  // a strip is one thread's next task
// Sums of so many values are taken in float32, their totals in float64: 64 keep all but the last bit or two.
constexpr std::int64_t kRunPixels = 64;

// The sums of x and x² of 16 channels over `pixels` pixels, added to totals[0…15] and totals[16…31].
template <typename Number>
DIFFUSED_AVX512 void add_sums(const typename Number::Value* x, std::int64_t channels, std::int64_t pixels,
                              double* totals) {
  __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < pixels; ++i) {
    const __m512 value = Number::load(x + i * channels);
    sum = _mm512_add_ps(sum, value);
    squares = _mm512_fmadd_ps(value, value, squares);
  }
  for (const __m512 part : {sum, squares}) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(part));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(part, 1));
    _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), low));
    _mm512_storeu_pd(totals + 8, _mm512_add_pd(_mm512_loadu_pd(totals + 8), high));
    totals += kLanes;
  }
}

// totals: [C / 16, 2, 16] zeros, to which a strip's sums are added.
template <typename Number>
void sum_strip(const typename Number::Value* x, std::int64_t channels, std::int64_t pixels, double* totals) {
  for (std::int64_t run = 0; run < pixels; run += kRunPixels) {
    const std::int64_t count = std::min(kRunPixels, pixels - run);
    for (std::int64_t c = 0; c < channels; c += kLanes) {
      add_sums<Number>(x + run * channels + c, channels, count, totals + 2 * c);
    }
  }
}

template <typename Number, bool kSilu>
DIFFUSED_AVX512 void scale_strip(const typename Number::Value* x, const float* factors, const float* offsets,
                                 std::int64_t channels, std::int64_t pixels, typename Number::Value* y) {
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel, x += channels, y += channels) {
    for (std::int64_t c = 0; c < channels; c += kLanes) {
      const __m512 z =
          _mm512_fmadd_ps(Number::load(x + c), _mm512_loadu_ps(factors + c), _mm512_loadu_ps(offsets + c));
      Number::store(y + c, kSilu ? _mm512_mul_ps(z, sigmoid(z)) : z);
    }
  }
}

// An image as strips of pixels, each one thread's next task. They are cut by the image, not by the threads.
struct Strips {
  std::int64_t channels, pixels;
  std::int64_t strip_pixels() const { return std::max(kStripValues / channels, kRunPixels); }
  std::int64_t count() const { return divide_up(pixels, strip_pixels()); }
};

// Calls function(strip, its first value, its pixels) for each strip of an image, from several threads.
template <typename Function>
void for_each_strip(const Strips& strips, const Function& function) {
  at::parallel_for(0, strips.count(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t first = s * strips.strip_pixels();
      function(s, first * strips.channels, std::min(strips.strip_pixels(), strips.pixels - first));
    }
  });
}

struct Affine {
  const float *weight, *bias;
  std::int64_t groups;
  double eps;
};

// totals: [strips, C / 16, 2, 16] sums of one image → its factors and offsets, [C] each.
void scaling_of(const Strips& strips, const double* totals, const Affine& affine, float* factors,
                float* offsets) {
  const std::int64_t channels = strips.channels, size = channels / affine.groups;
  std::vector<double> sums(channels), squares(channels);
  for (std::int64_t s = 0; s < strips.count(); ++s, totals += 2 * channels) {
    for (std::int64_t c = 0; c < channels; ++c) {
      sums[c] += totals[c / kLanes * 2 * kLanes + c % kLanes];
      squares[c] += totals[c / kLanes * 2 * kLanes + kLanes + c % kLanes];
    }
  }
  for (std::int64_t group = 0; group < affine.groups; ++group) {
    double sum = 0, square = 0;
    for (std::int64_t c = group * size; c < (group + 1) * size; ++c) {
      sum += sums[c];
      square += squares[c];
    }
    const double count = static_cast<double>(strips.pixels * size), mean = sum / count;
    const double variance = std::max(square / count - mean * mean, 0.0);
    const double inverse = 1 / std::sqrt(variance + affine.eps);
    for (std::int64_t c = group * size; c < (group + 1) * size; ++c) {
      const double factor = inverse * affine.weight[c];
      factors[c] = static_cast<float>(factor);
      offsets[c] = static_cast<float>(affine.bias[c] - mean * factor);
    }
  }
}

}  // namespace

bool group_norm_takes(const at::Tensor& x) {
  return has_avx512_for(x.scalar_type()) && x.device().is_cpu() && x.dim() == 4 && x.size(1) % kLanes == 0 &&
         x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

GroupScaling group_scaling(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           std::int64_t groups, double eps) {
  CHECK(group_norm_takes(x) && x.size(1) % groups == 0);
  const Strips strips{x.size(1), x.size(2) * x.size(3)};
  const at::Tensor float_weight = weight.to(at::kFloat).contiguous(),
                   float_bias = bias.to(at::kFloat).contiguous();
  const Affine affine{float_weight.const_data_ptr<float>(), float_bias.const_data_ptr<float>(), groups, eps};
  const GroupScaling result{at::empty({x.size(0), strips.channels}, at::kFloat),
                            at::empty({x.size(0), strips.channels}, at::kFloat)};
  with_number(x.scalar_type(), [&]<typename Number>() {
    const auto* image = static_cast<const typename Number::Value*>(x.const_data_ptr());
    for (std::int64_t b = 0; b < x.size(0); ++b, image += strips.channels * strips.pixels) {
      const at::Tensor totals = at::zeros({strips.count(), 2 * strips.channels}, at::kDouble);
      double* const sums = totals.mutable_data_ptr<double>();
      for_each_strip(strips, [&](std::int64_t s, std::int64_t offset, std::int64_t count) {
        sum_strip<Number>(image + offset, strips.channels, count, sums + s * 2 * strips.channels);
      });
      scaling_of(strips, sums, affine, result.factors[b].mutable_data_ptr<float>(),
                 result.offsets[b].mutable_data_ptr<float>());
    }
  });
  return result;
}

at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const GroupNormOptions& options) {
  const GroupScaling scaling = group_scaling(x, weight, bias, options.groups, options.eps);
  const at::Tensor y = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);
  const Strips strips{x.size(1), x.size(2) * x.size(3)};
  with_number(x.scalar_type(), [&]<typename Number>() {
    using Value = typename Number::Value;
    const auto scale = options.silu ? scale_strip<Number, true> : scale_strip<Number, false>;
    for (std::int64_t b = 0; b < x.size(0); ++b) {
      const std::int64_t image = b * strips.channels * strips.pixels;
      const float* const factors = scaling.factors.const_data_ptr<float>() + b * strips.channels;
      const float* const offsets = scaling.offsets.const_data_ptr<float>() + b * strips.channels;
      for_each_strip(strips, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
        scale(static_cast<const Value*>(x.const_data_ptr()) + image + offset, factors, offsets,
              strips.channels, count, static_cast<Value*>(y.mutable_data_ptr()) + image + offset);
      });
    }
  });
  return y;
}

}  // namespace diffused::kernels
