#include "kernels/attention_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/avx512_test.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

// The formula, in float64.
at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                     const at::Tensor& bias) {
  at::Tensor scores = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(-1, -2)) * scale;
  if (bias.defined()) scores = scores + bias.to(at::kDouble);
  return at::matmul(scores.softmax(-1), v.to(at::kDouble));
}

using test::relative_norm_error;

class AttentionAvx512 : public Avx512Test {
 protected:
  // bfloat16 keeps 8 bits: probabilities and the result are rounded to it.
  double tolerance() const { return GetParam() == at::kFloat ? 2e-6 : 3e-3; }
};

TEST_P(AttentionAvx512, FollowsTheFormulaAtManyShapes) {
  for (const std::int64_t size : {32, 64, 96, 128, 160}) {
    for (const std::int64_t queries : {1, 5, 6, 7, 77}) {
      for (const std::int64_t keys : {1, 2, 15, 16, 17, 47, 64, 65, 127, 333}) {
        const at::Tensor q = random({2, 3, queries, size}), k = random({2, 3, keys, size});
        const at::Tensor v = random({2, 3, keys, size});
        ASSERT_TRUE(attention_takes(q, k, v));
        const double scale = 1 / std::sqrt(static_cast<double>(size));
        const at::Tensor y = attention(q, k, v, scale, {});
        ASSERT_EQ(y.sizes(), q.sizes());
        ASSERT_EQ(y.scalar_type(), GetParam());
        ASSERT_LT(relative_norm_error(y, reference(q, k, v, scale, {})), tolerance())
            << "D " << size << ", " << queries << " queries, " << keys << " keys";
      }
    }
  }
}

TEST_P(AttentionAvx512, ReadsStridedHeadsOfOneProjectionAndReturnsMergeableHeads) {
  const at::Tensor qkv = random({2, 50, 3, 4, 64});  // [B, L, 3, H, D]
  const auto heads = [&](int i) { return qkv.select(2, i).transpose(1, 2); };
  const at::Tensor y = attention(heads(0), heads(1), heads(2), 0.125, {});
  EXPECT_LT(relative_norm_error(y, reference(heads(0), heads(1), heads(2), 0.125, {})), tolerance());
  EXPECT_TRUE(y.transpose(1, 2).is_contiguous());
}

TEST_P(AttentionAvx512, AddsABiasOfAnyBroadcastableShape) {
  const at::Tensor q = random({2, 3, 10, 32}), k = random({2, 3, 21, 32}), v = random({2, 3, 21, 32});
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {21}, {1, 1, 1, 21}, {2, 1, 1, 21}, {1, 3, 10, 21}, {2, 3, 10, 21}, {10, 1}, {1}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const at::Tensor bias = at::randn(shape, dtype) * 3;
      EXPECT_LT(relative_norm_error(attention(q, k, v, 0.3, bias), reference(q, k, v, 0.3, bias)),
                tolerance())
          << bias.sizes();
    }
  }
  const at::Tensor transposed = at::randn({21, 10}, at::kFloat).t();
  EXPECT_LT(relative_norm_error(attention(q, k, v, 0.3, transposed), reference(q, k, v, 0.3, transposed)),
            tolerance());
}

TEST_P(AttentionAvx512, SeesNoKeyWhoseBiasIsMinusInfinity) {
  const at::Tensor q = random({1, 2, 9, 64}), k = random({1, 2, 40, 64}), v = random({1, 2, 40, 64});
  at::Tensor bias = at::zeros({40}, at::kFloat);
  bias.slice(0, 23).fill_(-std::numeric_limits<float>::infinity());
  const at::Tensor seen = attention(q, k.slice(2, 0, 23), v.slice(2, 0, 23), 0.125, {});
  EXPECT_LT(relative_norm_error(attention(q, k, v, 0.125, bias), seen.to(at::kDouble)), tolerance());
}

TEST_P(AttentionAvx512, CountsARepeatedKeyByTheLogarithmOfItsNumber) {
  const at::Tensor q = random({1, 2, 9, 64}), k = random({1, 2, 5, 64}), v = random({1, 2, 5, 64});
  const auto repeat = [](const at::Tensor& x) {
    return at::cat({x.slice(2, 0, 4), x.slice(2, 4).expand({1, 2, 256, 64})}, 2);
  };
  at::Tensor bias = at::zeros({5}, at::kFloat);
  bias[4] = std::log(256.0);
  EXPECT_LT(
      relative_norm_error(attention(q, k, v, 0.125, bias), reference(q, repeat(k), repeat(v), 0.125, {})),
      tolerance());
}

TEST_P(AttentionAvx512, StaysFiniteWithLargeScores) {
  const at::Tensor q = random({1, 1, 6, 64}) * 300, k = random({1, 1, 100, 64}) * 300,
                   v = random({1, 1, 100, 64});
  const at::Tensor y = attention(q, k, v, 0.125, {});
  EXPECT_LT(relative_norm_error(y, reference(q, k, v, 0.125, {})), tolerance());
}

TEST_P(AttentionAvx512, GivesARowTheSameBytesInEveryBatchPlaceAndNumberOfThreads) {
  const at::Tensor q = random({5, 3, 40, 64}), k = random({5, 3, 70, 64}), v = random({5, 3, 70, 64});
  const at::Tensor batched = attention(q, k, v, 0.125, {});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (std::int64_t row = 0; row < 5; ++row) {
    const auto one = [&](const at::Tensor& x) { return x.slice(0, row, row + 1); };
    EXPECT_TRUE(at::equal(one(batched), attention(one(q), one(k), one(v), 0.125, {})));
    const at::Tensor last_queries = attention(one(q).slice(2, 27), one(k), one(v), 0.125, {});
    EXPECT_TRUE(at::equal(one(batched).slice(2, 27), last_queries));
  }
  at::set_num_threads(threads);
}

TEST_P(AttentionAvx512, RefusesWhatItCannotTake) {
  const at::Tensor x = random({1, 2, 3, 64});
  EXPECT_TRUE(attention_takes(x, x, x));
  EXPECT_FALSE(attention_takes(x, x.to(at::kHalf), x));
  EXPECT_FALSE(attention_takes(x.to(at::kDouble), x.to(at::kDouble), x.to(at::kDouble)));
  const at::Tensor odd = random({1, 2, 3, 40});
  EXPECT_FALSE(attention_takes(odd, odd, odd));
  const at::Tensor crossed = random({1, 2, 64, 64}).transpose(-1, -2);
  EXPECT_FALSE(attention_takes(crossed, crossed, crossed));
  const at::Tensor empty = x.slice(2, 0, 0);
  EXPECT_FALSE(attention_takes(x, empty, empty));
}

INSTANTIATE_TEST_SUITE_P(Numbers, AttentionAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
