// On the CPU every layer gives a row of a batch the bits it has alone. ATen's own kernels promise nothing of
// the kind: these shapes are where they were seen to differ, and around them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/gated_linear.h"
#include "nn/linear.h"
#include "nn/modulation.h"
#include "nn/norm.h"
#include "support/golden.h"
#include "support/rows.h"

namespace diffused::nn {
namespace {

// x: [8, ..]; layer maps [B, ..] to [B, ..].
template <typename Layer>
void expect_rows_independent(const at::Tensor& x, const Layer& layer, const std::string& about) {
  ASSERT_EQ(x.size(0), test::kRowsMax);
  test::expect_rows_independent(
      [&](std::int64_t row, std::int64_t rows) { return layer(x.narrow(0, row, rows)); },
      about + " " + at::toString(x.scalar_type()));
}

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

TEST(BatchInvariance, HoldsForLinears) {
  struct Size {
    std::int64_t tokens, in, out;  // tokens 0: [B, in]
  };
  for (const Size s : {Size{0, 192, 1152},
                       {0, 256, 192},
                       {0, 1536, 1536},
                       {1, 64, 64},
                       {4, 32, 96},
                       {12, 64, 32},
                       {64, 192, 576},
                       {78, 768, 192},
                       {77, 768, 3072},
                       {142, 192, 768},
                       {256, 384, 1152}}) {
    for (const auto dtype : kDtypes) {
      const Linear linear(at::randn({s.out, s.in}).to(dtype), at::randn({s.out}).to(dtype));
      const at::Tensor x = s.tokens == 0 ? at::randn({8, s.in}) : at::randn({8, s.tokens, s.in});
      expect_rows_independent(x.to(dtype), linear, std::to_string(s.in) + " to " + std::to_string(s.out));
    }
  }
}

TEST(BatchInvariance, HoldsForLinearsThatAddAndGate) {
  for (const auto dtype : kDtypes) {
    const test::WrittenWeights weights({{"weight", at::randn({128, 40})}, {"bias", at::randn({128})}});
    const Linear linear(weights.scope(dtype), 40, 128);
    const GatedLinear gated(weights.scope(dtype), 40, 64, Activation::gelu);
    const at::Tensor x = at::randn({8, 77, 40}).to(dtype);
    const auto sum = [](const at::Tensor& t) { return t.repeat({1, 1, 4}).narrow(2, 0, 128); };
    expect_rows_independent(
        x, [&](const at::Tensor& t) { return linear.add_to(sum(t), t, sum(t).select(1, 0)); }, "added");
    expect_rows_independent(x, gated, "gated");
  }
}

TEST(BatchInvariance, HoldsForActivations) {
  for (const auto a : {Activation::relu, Activation::silu, Activation::gelu, Activation::gelu_tanh,
                       Activation::quick_gelu}) {
    for (const at::Tensor& x : {at::randn({8, 191}), at::randn({8, 77, 613}), at::randn({8, 142, 768})}) {
      for (const auto dtype : kDtypes) {
        expect_rows_independent(
            x.to(dtype), [&](const at::Tensor& t) { return activate(a, t); }, "activation");
      }
    }
  }
}

TEST(BatchInvariance, HoldsForNorms) {
  for (const std::int64_t size : {40, 64, 192, 1000}) {
    const test::WrittenWeights weights({{"weight", at::randn({size})}, {"bias", at::randn({size})}});
    for (const auto dtype : kDtypes) {
      const at::Tensor x = at::randn({8, 131, size}).to(dtype);
      const RmsNorm rms(weights.scope(dtype), size, 1e-6);
      const LayerNorm layer(weights.scope(dtype), size, 1e-5);
      expect_rows_independent(x, rms, "RMS norm");
      expect_rows_independent(x, layer, "layer norm");
      const auto modulated = [](const at::Tensor& t) {
        return modulated_layer_norm(t, t.select(1, 0), t.select(1, 1), 1e-6);
      };
      expect_rows_independent(x, modulated, "modulated layer norm");
      expect_rows_independent(
          x, [](const at::Tensor& t) { return add_gated(t, t.select(1, 0), t); }, "gate");
    }
  }
}

TEST(BatchInvariance, HoldsForRotatedHeads) {
  for (const std::int64_t size : {24, 64}) {
    const test::WrittenWeights weights({{"weight", at::randn({size})}});
    const Rotation rotation = rotation_of(at::arange(77).unsqueeze(1), {&size, 1}, 100);
    for (const auto dtype : kDtypes) {
      const RmsNorm norm(weights.scope(dtype), size, 1e-6);
      expect_rows_independent(
          at::randn({8, 3, 77, size}).to(dtype),
          [&](const at::Tensor& t) { return norm.rotated(t, rotation); }, "rotated heads");
    }
  }
}

TEST(BatchInvariance, HoldsForAttention) {
  struct Size {
    std::int64_t heads, tokens, head_dim;
  };
  for (const Size s : {Size{3, 142, 64}, {2, 77, 16}, {1, 9, 24}, {1, 256, 96}, {4, 400, 64}}) {
    for (const auto dtype : kDtypes) {
      const at::Tensor x = at::randn({8, s.tokens, 3 * s.heads * s.head_dim}).to(dtype);
      const auto attend = [&](const AttentionOptions& options) {
        return [&, options](const at::Tensor& t) {
          const auto qkv = t.chunk(3, -1);
          return attention(split_heads(qkv[0], s.heads), split_heads(qkv[1], s.heads),
                           split_heads(qkv[2], s.heads), options);
        };
      };
      expect_rows_independent(x, attend({}), "attention");
      expect_rows_independent(x, attend({.causal = true}), "causal attention");
      expect_rows_independent(x, attend({.bias = at::randn({s.tokens})}), "attention with a bias");
    }
  }
}

}  // namespace
}  // namespace diffused::nn
