// Per head, K and V are packed once for the register tile of packed_matrix.h (k: tiles of 64 keys over
// channels; v: tiles of 64 channels over keys). Then six queries at a time:
//
//   q [6, D]  x  packed k  →  scores [6, Lk] float32       which stay in the core's own cache
//   softmax of each whole row  →  probabilities [6, Lk]    written over the memory of the scores
//   probabilities  x  packed v  →  [6, D]                  divided by the rows' sums, rounded once
//
// It is fast because both products run from registers at nearly the rate of the multipliers, packed k and v
// (4 * Lk * D bytes in bfloat16) stay in the second-level cache, and the exponential is one polynomial. With
// AMX it goes as attention_amx.h says.
#include "kernels/attention_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/attention_amx.h"
#include "kernels/attention_problem.h"
#include "kernels/packed_matrix.h"
#include "kernels/processor.h"

namespace diffused::kernels {
namespace {

// What one thread works with: one head packed, and the scores of a few queries.
template <typename Number>
struct Workspace {
  using Value = typename Number::Value;
  using Left = typename Number::Left;

  explicit Workspace(const AttentionProblem<Number>& p)
      : score_stride(p.k_packing().tiles() * kTileColumns +
                     kLanes),  // so that rows differ in their cache set
        k_bytes(at::empty(p.k_packing().values() * sizeof(Value), at::kByte)),
        v_bytes(at::empty(p.v_packing().values() * sizeof(Value), at::kByte)),
        q_bytes(at::empty(kTileRows * p.size * sizeof(Left), at::kByte)),
        score_tensor(at::empty(p.in_tiles() ? 0 : kTileRows * score_stride, at::kFloat)) {}
  Value* k() const { return static_cast<Value*>(k_bytes.data_ptr()); }
  Value* v() const { return static_cast<Value*>(v_bytes.data_ptr()); }
  float* scores(std::int64_t row) const {
    return score_tensor.mutable_data_ptr<float>() + row * score_stride;
  }
  Left* probabilities(std::int64_t row) const { return reinterpret_cast<Left*>(scores(row)); }
  // The query as it multiplies; `slot`: of the six.
  const Left* query(const Value* q, std::int64_t size, int slot) const {
    if constexpr (std::is_same_v<Left, Value>) {
      return q;
    } else {
      Left* const copy = static_cast<Left*>(q_bytes.data_ptr()) + slot * size;
      copy_left<Number>(q, size, copy);
      return copy;
    }
  }

  std::int64_t score_stride;
  at::Tensor k_bytes, v_bytes, q_bytes, score_tensor;
};

template <typename Number, int kVectors>
DIFFUSED_AVX512 void score_tile(const typename Number::Left* const* q, const typename Number::Value* k,
                                std::int64_t units, float* scores, std::int64_t score_stride) {
  const Tile<kVectors> tile = multiply<Number, kVectors>(q, k, units);
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(scores + row * score_stride + v * kLanes, tile.sum[row][v]);
    }
  }
}

// Writes exp(scale * (score - highest)) over a row of scores, zero beyond `keys` up to kKeysMultiple, and
// returns the sum of the unrounded values. A value is never wider than a score, so no score is lost unread.
template <typename Number>
DIFFUSED_AVX512 float exponentiate(const float* scores, std::int64_t keys, float scale,
                                   typename Number::Left* probabilities) {
  const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 highest = lowest;
  for (std::int64_t i = 0; i < keys; i += kLanes) {
    highest = _mm512_max_ps(highest, _mm512_mask_loadu_ps(lowest, first_lanes(keys - i), scores + i));
  }
  constexpr float kLog2E = 1.44269504088896340736f;
  const __m512 factor = _mm512_set1_ps(scale * kLog2E);
  const __m512 offset = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
  __m512 sum = _mm512_setzero_ps();
  const std::int64_t end = divide_up(keys, kKeysMultiple) * kKeysMultiple;
  for (std::int64_t i = 0; i < end; i += kLanes) {
    const __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + i), offset), factor);
    const __m512 y = _mm512_maskz_mov_ps(first_lanes(keys - i), exp2(x));
    sum = _mm512_add_ps(sum, y);
    Number::store_left(probabilities + i, y);
  }
  return _mm512_reduce_add_ps(sum);
}

template <typename Number, int kVectors>
DIFFUSED_AVX512 void value_tile(const typename Number::Left* const* probabilities,
                                const typename Number::Value* v_tile, std::int64_t units, const float* sums,
                                typename Number::Value* const* out, int rows) {
  const Tile<kVectors> tile = multiply<Number, kVectors>(probabilities, v_tile, units);
#pragma GCC unroll 6
  for (int row = 0; row < kTileRows; ++row) {
    const __m512 factor = _mm512_set1_ps(1.0f / sums[row]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (row < rows) Number::store(out[row] + v * kLanes, _mm512_mul_ps(tile.sum[row][v], factor));
    }
  }
}

// The queries first…first + 5 of one head, whose keys and values are packed in `work`.
template <typename Number>
void attend(const AttentionProblem<Number>& p, std::int64_t b, std::int64_t h, std::int64_t first,
            const Workspace<Number>& work) {
  using Value = typename Number::Value;
  const int rows = static_cast<int>(std::min(kTileRows, p.queries - first));
  const typename Number::Left* q[kTileRows];
  const typename Number::Left* probabilities[kTileRows];
  Value* out[kTileRows];
  for (int row = 0; row < kTileRows; ++row) {
    const std::int64_t query = first + std::min(row, rows - 1);  // a last, partial six repeats its last row
    q[row] = work.query(p.q.row(b, h, query), p.size, row);
    probabilities[row] = work.probabilities(row);
    out[row] = p.out.row(b, h, query);
  }

  const Packing<Number> k = p.k_packing(), v = p.v_packing();
  for (std::int64_t tile = 0; tile < k.tiles(); ++tile) {
    const Value* k_tile = work.k() + tile * k.tile_values();
    float* scores = work.scores(0) + tile * kTileColumns;
    with_vectors(p.keys - tile * kTileColumns, [&]<int kVectors>() {
      score_tile<Number, kVectors>(q, k_tile, k.units(), scores, work.score_stride);
    });
  }
  float sums[kTileRows] = {};
  for (int row = 0; row < rows; ++row) {
    if (p.bias.defined()) add_bias(work.scores(row), p.bias_row(b, h, first + row), p.keys, p.scale);
    sums[row] = exponentiate<Number>(work.scores(row), p.keys, p.scale, work.probabilities(row));
  }
  for (std::int64_t tile = 0; tile < v.tiles(); ++tile) {
    const Value* v_tile = work.v() + tile * v.tile_values();
    with_vectors(p.size - tile * kTileColumns, [&]<int kVectors>() {
      value_tile<Number, kVectors>(probabilities, v_tile, v.units(), sums, out, rows);
    });
    for (Value*& row : out) row += kTileColumns;
  }
}

template <typename Number>
void run(const AttentionProblem<Number>& p, std::int64_t batch) {
  const std::int64_t at_once = p.queries_at_once(), groups = divide_up(p.queries, at_once);
  at::parallel_for(0, batch * p.heads * groups, /*grain_size=*/1, [&](std::int64_t begin, std::int64_t end) {
    const Workspace<Number> work(p);
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t head = i / groups, b = head / p.heads, h = head % p.heads;
      const std::int64_t first = i % groups, last = std::min(end - head * groups, groups);
      pack_columns(p.k_packing(), p.k.row(b, h, 0), p.k.row_stride, 0, p.k_packing().tiles(), work.k());
      pack_rows(p.v_packing(), p.v.row(b, h, 0), p.v.row_stride, p.keys, work.v());
      if constexpr (kHasTiles<Number>) {
        if (p.in_tiles()) {
          const PackedHead packed{.b = b, .h = h, .k = work.k(), .v = work.v()};
          TiledAttention(p, packed).attend(first, last);
        }
      }
      for (std::int64_t group = first; group < last && !p.in_tiles(); ++group) {
        attend(p, b, h, group * at_once, work);
      }
      i += last - first;
    }
  });
}

}  // namespace

bool attention_takes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const at::ScalarType dtype = q.scalar_type();
  const auto takes = [&](const at::Tensor& x) {
    return x.device().is_cpu() && x.scalar_type() == dtype && x.dim() == 4 && x.stride(3) == 1;
  };
  return has_avx512_for(dtype) && takes(q) && takes(k) && takes(v) && q.size(3) % 32 == 0 && k.size(2) > 0;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                     const at::Tensor& bias) {
  const std::int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2), keys = k.size(2);
  const at::Tensor out = at::empty({batch, queries, heads, q.size(3)}, q.options()).transpose(1, 2);
  at::Tensor float_bias;
  if (bias.defined()) {
    float_bias = bias.to(at::kFloat);
    if (float_bias.stride(-1) != 1) float_bias = float_bias.contiguous();
    if (float_bias.size(-1) != keys)
      float_bias = float_bias.expand({batch, heads, queries, keys}).contiguous();
    float_bias = float_bias.expand({batch, heads, queries, keys});
  }
  with_multiplied_number(q.scalar_type(), [&]<typename Number>() {
    using Rows = Heads<typename Number::Value>;
    const AttentionProblem<Number> p{
        Rows(q),   Rows(k), Rows(v), Rows(out), heads, queries, keys, q.size(3), static_cast<float>(scale),
        float_bias};
    run(p, batch);
  });
  return out;
}

}  // namespace diffused::kernels
