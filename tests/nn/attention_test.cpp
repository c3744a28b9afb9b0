#include "nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace diffused::nn {
namespace {

// The formula, in float64, some queries at a time.
at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options) {
  constexpr std::int64_t kQueriesAtATime = 100;
  const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  const std::int64_t queries = q.size(2), keys = k.size(2);
  at::Tensor bias = at::zeros({q.size(0), q.size(1), queries, keys}, at::kDouble);
  if (options.bias.defined()) bias = bias + wide(options.bias);
  if (options.causal) bias = bias.masked_fill(at::ones({queries, keys}, at::kBool).triu(1), -INFINITY);
  std::vector<at::Tensor> chunks;
  for (std::int64_t begin = 0; begin < queries; begin += kQueriesAtATime) {
    const std::int64_t count = std::min(kQueriesAtATime, queries - begin);
    const at::Tensor scores = wide(q).narrow(2, begin, count).matmul(wide(k).transpose(2, 3)) * scale;
    chunks.push_back(at::softmax(scores + bias.narrow(2, begin, count), -1).matmul(wide(v)));
  }
  return at::cat(chunks, 2);  // [B, H, Lq, D]
}

struct Case {
  std::int64_t batch, heads, queries, keys, head_dim;
};

void expect_equal_to_reference(const Case& c, const AttentionOptions& options) {
  at::manual_seed(2);
  const at::Tensor q = at::randn({c.batch, c.heads, c.queries, c.head_dim});
  const at::Tensor k = at::randn({c.batch, c.heads, c.keys, c.head_dim});
  const at::Tensor v = at::randn({c.batch, c.heads, c.keys, c.head_dim});
  const at::Tensor expected = reference(q, k, v, options);
  const double largest = expected.abs().max().item<double>();
  for (const auto& [dtype, tolerance] : {std::pair(at::kFloat, 3e-6), std::pair(at::kBFloat16, 0.02)}) {
    const at::Tensor actual = attention(q.to(dtype), k.to(dtype), v.to(dtype), options);
    ASSERT_EQ(actual.sizes(), expected.sizes());
    EXPECT_EQ(actual.scalar_type(), dtype);
    EXPECT_LE((actual.to(at::kDouble) - expected).abs().max().item<double>(), tolerance * largest)
        << "queries " << c.queries << ", keys " << c.keys << ", head " << c.head_dim << ", "
        << at::toString(dtype);
  }
}

const std::vector<Case> kCases = {
    {1, 1, 1, 1, 8},      {2, 3, 64, 142, 64},  {1, 2, 77, 77, 16},    {3, 1, 5, 300, 40},
    {2, 2, 142, 142, 64}, {1, 4, 256, 256, 32}, {1, 1, 600, 600, 512}, {1, 2, 1025, 333, 128},
};

TEST(Attention, EqualsTheFormulaAtManyShapes) {
  for (const Case& c : kCases) expect_equal_to_reference(c, {});
}

TEST(Attention, TakesABiasOfKeysOrOfScores) {
  for (const Case& c : kCases) {
    expect_equal_to_reference(c, {.bias = at::randn({c.keys})});
    expect_equal_to_reference(c, {.bias = at::randn({c.batch, 1, 1, c.keys})});
    expect_equal_to_reference(c, {.scale = 1.0 / 16, .bias = at::randn({1, c.heads, c.queries, c.keys})});
  }
}

TEST(Attention, TakesAMaskOfMinusInfinity) {
  at::Tensor bias = at::zeros({300});
  bias.narrow(0, 100, 150).fill_(-INFINITY);
  expect_equal_to_reference({1, 2, 77, 300, 64}, {.bias = bias});
}

TEST(Attention, HidesLaterKeysWhenCausal) {
  for (const Case& c : kCases) {
    if (c.queries == c.keys) expect_equal_to_reference(c, {.causal = true});
  }
}

TEST(Attention, CountsAKeyAsOftenAsItsBiasSays) {
  const at::Tensor q = at::randn({1, 2, 64, 32}), k = at::randn({1, 2, 11, 32}),
                   v = at::randn({1, 2, 11, 32});
  const auto repeat_last = [](const at::Tensor& t) {
    return at::cat({t, t.narrow(2, 10, 1).expand({1, 2, 255, 32})}, 2);
  };
  at::Tensor bias = at::zeros({11});
  bias[10] = std::log(256.0);
  const at::Tensor plain = attention(q, repeat_last(k), repeat_last(v));
  EXPECT_LE((attention(q, k, v, {.bias = bias}) - plain).abs().max().item<float>(), 1e-5);
}

TEST(Attention, TakesViewsOfOneTensor) {
  const at::Tensor qkv = at::randn({2, 50, 3 * 4 * 16});
  const auto parts = qkv.chunk(3, -1);
  const at::Tensor q = split_heads(parts[0], 4), k = split_heads(parts[1], 4), v = split_heads(parts[2], 4);
  EXPECT_EQ(q.sizes(), at::IntArrayRef({2, 4, 50, 16}));
  const at::Tensor out = attention(q, k, v);
  EXPECT_LE((out - reference(q, k, v, {})).abs().max().item<double>(), 3e-6);
  EXPECT_TRUE(merge_heads(q).equal(parts[0]));
}

}  // namespace
}  // namespace diffused::nn
