// A pass over x makes its rows bytes (it costs a few percent of the products), then multiply_all.h
// multiplies:
//
//   Σ x w ≈ step scale Σ (u - zero) q = step scale (Σ u q - zero Σ q)
#include "kernels/quantized_linear_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/finish.h"
#include "kernels/multiply_all.h"
#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

constexpr float kWeightMax = 127, kByteMax = 255;
constexpr std::int64_t kQuantizeTaskValues = 1 << 15;  // enough for a thread to start

// How a row became bytes.
struct RowScale {
  float step;
  std::int32_t zero;
};

template <typename Number>
DIFFUSED_AVX512 RowScale quantize_row(const typename Number::Value* x, std::int64_t size, std::uint8_t* to) {
  __m512 least = _mm512_setzero_ps(), most = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __m512 value =
        Number::load(x + i, first_lanes(size - i));  // 0 beyond the row, which is in the range
    least = _mm512_min_ps(least, value);
    most = _mm512_max_ps(most, value);
  }
  const float low = _mm512_reduce_min_ps(least), high = _mm512_reduce_max_ps(most);
  const float step = (high - low) / kByteMax;
  const float inverse = step > 0 ? 1 / step : 0;
  const __m512i zero = _mm512_cvtps_epi32(_mm512_set1_ps(-low * inverse));
  const __m512 factor = _mm512_set1_ps(inverse);
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(Number::load(x + i, lanes), factor));
    // Rounding may lead one out of range, which the conversion cuts off; below 0 it would take as large.
    const __m512i u = _mm512_max_epi32(_mm512_add_epi32(whole, zero), _mm512_setzero_si512());
    _mm_mask_storeu_epi8(to + i, lanes, _mm512_cvtusepi32_epi8(u));
  }
  return {step, _mm512_cvtsi512_si32(zero)};
}

// Results of the sums of bytes, for finish.h.
struct Dequantize {
  const RowScale* rows;
  const float *scale, *bias;
  const std::int32_t* sum;

  DIFFUSED_AVX512_INLINE __m512 operator()(__m512 sums, std::int64_t row, std::int64_t column) const {
    const RowScale by = rows[row];
    const __m512i shifted = _mm512_mullo_epi32(_mm512_set1_epi32(by.zero), _mm512_loadu_si512(sum + column));
    const __m512 product = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_castps_si512(sums), shifted));
    const __m512 both = _mm512_mul_ps(_mm512_set1_ps(by.step), _mm512_loadu_ps(scale + column));
    return _mm512_fmadd_ps(product, both, _mm512_loadu_ps(bias + column));
  }
};

// How a channel of the weight became bytes.
struct Channel {
  float scale;
  std::int32_t sum;
};

template <typename Number>
DIFFUSED_AVX512 Channel quantize_channel(const typename Number::Value* weight, std::int64_t size,
                                         std::uint8_t* to) {
  __m512 largest = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < size; i += kLanes) {
    largest = _mm512_max_ps(largest, _mm512_abs_ps(Number::load(weight + i, first_lanes(size - i))));
  }
  const float scale = _mm512_reduce_max_ps(largest) / kWeightMax;
  const __m512 divisor = _mm512_set1_ps(scale > 0 ? scale : 1);
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const __mmask16 lanes = first_lanes(size - i);
    const __m512i q = _mm512_cvtps_epi32(_mm512_div_ps(Number::load(weight + i, lanes), divisor));
    sum = _mm512_add_epi32(sum, q);
    _mm_mask_storeu_epi8(to + i, lanes, _mm512_cvtsepi32_epi8(q));
  }
  return {scale, _mm512_reduce_add_epi32(sum)};
}

}  // namespace

bool QuantizedLinear::takes(const at::Tensor& weight) {
  return weight.device().is_cpu() && weight.dim() == 2 && weight.numel() > 0 &&
         has_avx512_for(weight.scalar_type()) && has_avx512_vnni();
}

QuantizedLinear::QuantizedLinear(const at::Tensor& weight, const at::Tensor& bias)
    : in_(weight.size(1)), out_(weight.size(0)), dtype_(weight.scalar_type()) {
  CHECK(takes(weight));
  const at::Tensor channels = weight.stride(1) == 1 ? weight : weight.contiguous();
  const Packing<Bytes> packing{in_, out_};
  values_ = at::empty({packing.tiles(), packing.tile_values()}, at::kByte);
  scale_ = at::zeros({packing.tiles() * kTileColumns}, at::kFloat);
  sum_ = at::zeros_like(scale_, at::kInt);
  bias_ = at::zeros_like(scale_);
  if (bias.defined()) bias_.narrow(0, 0, out_).copy_(bias);
  with_number(dtype_, [&]<typename Number>() {
    const Rows<typename Number::Value> from(channels);
    at::parallel_for(0, packing.tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::uint8_t> columns(kTileColumns * in_);  // of one tile
      for (std::int64_t tile = begin; tile < end; ++tile) {
        const std::int64_t first = tile * kTileColumns, count = std::min(kTileColumns, out_ - first);
        for (std::int64_t i = 0; i < count; ++i) {
          const Channel channel = quantize_channel<Number>(from[first + i], in_, columns.data() + i * in_);
          scale_.mutable_data_ptr<float>()[first + i] = channel.scale;
          sum_.mutable_data_ptr<std::int32_t>()[first + i] = channel.sum;
        }
        pack_columns(Packing<Bytes>{in_, count}, columns.data(), in_, 0, 1,
                     values_.mutable_data_ptr<std::uint8_t>() + tile * packing.tile_values());
      }
    });
  });
}

template <typename MakeFinish>
void QuantizedLinear::multiply(const at::Tensor& x, const MakeFinish& finish) const {
  CHECK(x.device().is_cpu() && x.scalar_type() == dtype_ && x.size(-1) == in_);
  const at::Tensor input = with_whole_rows(x);
  const std::int64_t count = x.numel() / in_;
  const Packing<Bytes> packing{in_, out_};
  // A whole number of units a row; what lies beyond `in` meets zeros of the weight, whatever it is.
  const at::Tensor bytes = at::empty({count, packing.units() * Bytes::kUnitValues}, at::kByte);
  std::vector<RowScale> scales(count);
  with_number(dtype_, [&]<typename Number>() {
    const Rows<std::uint8_t> to(bytes);
    at::parallel_for(0, count, std::max<std::int64_t>(kQuantizeTaskValues / in_, 1),
                     [&, from = Rows<typename Number::Value>(input)](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i) {
                         scales[i] = quantize_row<Number>(from[i], in_, to[i]);
                       }
                     });
    multiply_all(Product<Bytes>{to, packing, static_cast<const std::uint8_t*>(values_.const_data_ptr())},
                 finish.template operator()<Number>(Dequantize{scales.data(), scale_.const_data_ptr<float>(),
                                                               bias_.const_data_ptr<float>(),
                                                               sum_.const_data_ptr<std::int32_t>()}));
  });
}

at::Tensor QuantizedLinear::operator()(const at::Tensor& x, const LinearExtras& extras) const {
  const at::Tensor y = linear_result(x, out_);
  check_extras(extras, y);
  if (y.numel() == 0) return y;
  multiply(x, [&]<typename Number>(const Dequantize& result) {
    return Finish<Number, Dequantize>(y, out_, extras, result);
  });
  return y;
}

at::Tensor QuantizedLinear::pairs(const at::Tensor& x, Activation activation) const {
  CHECK(out_ % (2 * kPairColumns) == 0);
  const at::Tensor y = linear_result(x, out_ / 2);
  if (y.numel() == 0) return y;
  multiply(x, [&]<typename Number>(const Dequantize& result) {
    return FinishPairs<Number, Dequantize>{Rows<typename Number::Value>(y), result, activation};
  });
  return y;
}

}  // namespace diffused::kernels
