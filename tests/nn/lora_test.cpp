// A layer with a LoRA equals the layer with the changed weight, for each row with its own.
#include "nn/lora.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nn/conv.h"
#include "nn/gated_linear.h"
#include "nn/linear.h"
#include "support/golden.h"
#include "support/rows.h"

namespace diffused::nn {
namespace {

using test::relative_error;

constexpr double kTolerance = 1e-5;
constexpr std::int64_t kRank = 3;
constexpr double kScale = 0.5, kWeight = -1.5;

// A set that changes one layer, and the sum that it adds to the layer's weight.
struct Change {
  LoraSet set;
  at::Tensor added;
};

Change change_of(const std::string& layer, at::IntArrayRef weight) {
  std::vector<std::int64_t> down_shape = weight.vec();
  down_shape.front() = kRank;
  const at::Tensor down = at::randn(down_shape), up = at::randn({weight.front(), kRank});
  const auto lora = std::make_shared<Lora>();
  lora->emplace(layer, LayerChange{.down = down, .up = up, .scale = kScale});
  return {{{lora, kWeight}}, (up.matmul(down.flatten(1)) * (kScale * kWeight)).view(weight)};
}

// The set in another dtype.
LoraSet in(const LoraSet& set, at::ScalarType dtype) {
  LoraSet result = set;
  for (WeightedLora& chosen : result) {
    const auto rounded = std::make_shared<Lora>(*chosen.lora);
    for (auto& [layer, low] : *rounded)
      low = {.down = low.down.to(dtype), .up = low.up.to(dtype), .scale = low.scale};
    chosen.lora = rounded;
  }
  return result;
}

const LoraSet kNone;

// Weights under "a.", "b." … of random numbers.
class LoraLayer : public ::testing::Test {
 protected:
  at::Tensor w = at::randn({8, 6}), w2 = at::randn({8, 6}), bias = at::randn({8}), bias2 = at::randn({8});
  test::WrittenWeights weights{{{"a.weight", w}, {"a.bias", bias}, {"b.weight", w2}, {"b.bias", bias2}}};
  weights::Scope scope = weights.scope();
  at::Tensor x = at::randn({3, 5, 6});
};

TEST_F(LoraLayer, ALinearChangesRowByRow) {
  const Linear linear(scope / "a", 6, 8);
  const Change first = change_of(".a", {8, 6}), last = change_of(".a", {8, 6});
  const at::Tensor plain = linear(x);
  {
    const LoraRows rows({&first.set, &kNone, &last.set});
    const at::Tensor y = linear(x);
    EXPECT_LE(relative_error(y[0], at::linear(x[0], w + first.added, bias)), kTolerance);
    EXPECT_TRUE(y[1].equal(plain[1]));
    EXPECT_LE(relative_error(y[2], at::linear(x[2], w + last.added, bias)), kTolerance);
  }
  EXPECT_TRUE(linear(x).equal(plain));
}

TEST_F(LoraLayer, OneSetIsForAllRowsThereAre) {
  const Linear linear(scope / "a", 6, 8);
  const Change change = change_of(".a", {8, 6});
  const LoraRows rows({&change.set});
  EXPECT_LE(relative_error(linear(x), at::linear(x, w + change.added, bias)), kTolerance);
  EXPECT_LE(relative_error(linear(x.select(1, 0)), at::linear(x.select(1, 0), w + change.added, bias)),
            kTolerance);
}

TEST_F(LoraLayer, TheFunctionComesAfterTheChange) {
  const Linear linear(scope / "a", 6, 8);
  const Change change = change_of(".a", {8, 6});
  const LoraRows rows({&change.set});
  EXPECT_LE(relative_error(linear(x, Activation::gelu_tanh),
                           at::gelu(at::linear(x, w + change.added, bias), "tanh")),
            kTolerance);
}

TEST_F(LoraLayer, ARowWithoutOneKeepsItsBitsWithAFunction) {
  const Change change = change_of(".a", {8, 6});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Linear linear(scope.with_dtype(dtype) / "a", 6, 8);
    const at::Tensor input = at::randn({3, 77, 6}).to(dtype);
    const at::Tensor plain = linear(input, Activation::gelu_tanh);
    const LoraSet rounded = in(change.set, dtype);
    const LoraRows rows({&kNone, &rounded, &kNone});
    const at::Tensor y = linear(input, Activation::gelu_tanh);
    EXPECT_TRUE(y[0].equal(plain[0]) && y[2].equal(plain[2])) << dtype;
    EXPECT_FALSE(y[1].equal(plain[1])) << dtype;
  }
}

TEST_F(LoraLayer, WhatIsAddedToComesAfterTheChange) {
  const Change change = change_of(".a", {8, 6});
  const at::Tensor sum = at::randn({3, 5, 8}), gate = at::randn({3, 8});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Linear linear(scope.with_dtype(dtype) / "a", 6, 8);
    const auto add = [&] { return linear.add_to(sum.to(dtype), x.to(dtype), gate.to(dtype)); };
    const at::Tensor plain = add();
    const LoraSet rounded = in(change.set, dtype);
    const LoraRows rows({&kNone, &rounded, &kNone});
    const at::Tensor y = add();
    EXPECT_TRUE(y[0].equal(plain[0]) && y[2].equal(plain[2])) << dtype;
    const at::Tensor expected = sum[1] + gate[1] * at::linear(x[1], w + change.added, bias);
    EXPECT_LE(relative_error(y[1], expected), dtype == at::kFloat ? kTolerance : 2e-2) << dtype;
  }
}

TEST(LoraGatedLinear, ChangesValuesAndGates) {
  const at::Tensor w = at::randn({128, 6}), bias = at::randn({128}), x = at::randn({3, 5, 6});
  const test::WrittenWeights weights({{"a.weight", w}, {"a.bias", bias}});
  const Change change = change_of(".a", {128, 6});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const GatedLinear linear(weights.scope().with_dtype(dtype) / "a", 6, 64, Activation::gelu);
    const at::Tensor plain = linear(x.to(dtype));
    const LoraSet rounded = in(change.set, dtype);
    const LoraRows rows({&kNone, &rounded, &kNone});
    const at::Tensor y = linear(x.to(dtype));
    EXPECT_TRUE(y[0].equal(plain[0]) && y[2].equal(plain[2])) << dtype;
    const auto halves = at::linear(x[1], w + change.added, bias).chunk(2, -1);
    EXPECT_LE(relative_error(y[1], halves[0] * at::gelu(halves[1])), dtype == at::kFloat ? kTolerance : 3e-2)
        << dtype;
  }
}

TEST_F(LoraLayer, OneOfLinearsSideBySideChangesItsShare) {
  const Linear linear(scope, {"a", "b"}, 6, 8);
  const Change change = change_of(".b", {8, 6});
  const LoraRows rows({&change.set});
  const at::Tensor y = linear(x);
  EXPECT_LE(relative_error(y.narrow(-1, 0, 8), at::linear(x, w, bias)), kTolerance);
  EXPECT_LE(relative_error(y.narrow(-1, 8, 8), at::linear(x, w2 + change.added, bias2)), kTolerance);
}

TEST_F(LoraLayer, APartOfTheInputsTakesItsPartOfTheChange) {
  const Linear linear(w.narrow(1, 2, 4).contiguous(), {}, LinearFormat::plain,
                      {.names = {".a"}, .first_input = 2});
  const Change change = change_of(".a", {8, 6});
  const LoraRows rows({&change.set});
  const at::Tensor part = x.narrow(-1, 2, 4);
  EXPECT_LE(relative_error(linear(part), at::linear(part, (w + change.added).narrow(1, 2, 4))), kTolerance);
}

TEST_F(LoraLayer, SeveralLorasAddUp) {
  const Linear linear(scope / "a", 6, 8);
  const Change one = change_of(".a", {8, 6}), two = change_of(".a", {8, 6}), other = change_of(".z", {8, 6});
  const LoraSet all = {one.set[0], other.set[0], two.set[0]};
  const LoraRows rows({&all});
  EXPECT_LE(relative_error(linear(x), at::linear(x, w + one.added + two.added, bias)), kTolerance);
}

TEST_F(LoraLayer, ARowHasTheBitsItHasAlone) {
  const Linear linear(scope / "a", 6, 8);
  std::vector<Change> changes;
  for (int i = 0; i < test::kRowsMax; ++i) changes.push_back(change_of(".a", {8, 6}));
  changes[1].set = kNone;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Linear own(scope.with_dtype(dtype) / "a", 6, 8);
    const at::Tensor many = at::randn({test::kRowsMax, 77, 6}).to(dtype);
    for (Change& change : changes) change.set = in(change.set, dtype);
    test::expect_rows_independent(
        [&](std::int64_t row, std::int64_t rows) {
          std::vector<const LoraSet*> sets;
          for (std::int64_t i = row; i < row + rows; ++i) sets.push_back(&changes[i].set);
          const LoraRows active(sets);
          return own(many.narrow(0, row, rows));
        },
        "LoRA");
  }
}

TEST(LoraConv, ChangesAsTheWeightWould) {
  const at::Tensor w = at::randn({8, 4, 3, 3}), bias = at::randn({8});
  const test::WrittenWeights weights(
      {{"a.weight", w}, {"a.bias", bias}, {"norm.weight", at::randn({4})}, {"norm.bias", at::randn({4})}});
  const at::Tensor x = at::randn({2, 4, 10, 12});
  const Change change = change_of(".a", {8, 4, 3, 3});
  const GroupNorm norm(weights.scope() / "norm", 2, 4, 1e-5);
  for (const std::int64_t stride : {1, 2}) {
    const Conv2d conv(weights.scope() / "a", 4, 8, 3, stride, 1);
    const at::Tensor plain = conv(x);
    const LoraRows rows({&change.set, &kNone});
    const at::Tensor y = conv(x);
    EXPECT_LE(relative_error(y[0], at::conv2d(x, w + change.added, bias, stride, 1)[0]), kTolerance);
    EXPECT_TRUE(y[1].equal(plain[1]));
    EXPECT_LE(relative_error(conv.of_silu(norm, x)[0],
                             at::conv2d(norm.with_silu(x), w + change.added, bias, stride, 1)[0]),
              kTolerance);
  }
}

TEST(LoraConv, ARowWithoutOneKeepsItsBits) {
  const test::WrittenWeights weights({{"a.weight", at::randn({32, 32, 3, 3})},
                                      {"a.bias", at::randn({32})},
                                      {"norm.weight", at::randn({32})},
                                      {"norm.bias", at::randn({32})}});
  const Change change = change_of(".a", {32, 32, 3, 3});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const weights::Scope scope = weights.scope().with_dtype(dtype);
    const GroupNorm norm(scope / "norm", 2, 32, 1e-5);
    const Conv2d conv(scope / "a", 32, 32, 3, 1, 1);
    const at::Tensor x = at::randn({3, 32, 10, 12}).to(dtype), added = at::randn({3, 32, 10, 12}).to(dtype);
    const at::Tensor shift = at::randn({3, 32}).to(dtype);
    const at::Tensor plain = conv.of_silu(norm, x, {.shift = shift, .picture = added});
    const LoraSet rounded = in(change.set, dtype);
    const LoraRows rows({&rounded, &kNone, &kNone});
    const at::Tensor y = conv.of_silu(norm, x, {.shift = shift, .picture = added});
    EXPECT_FALSE(y[0].equal(plain[0])) << dtype;
    EXPECT_TRUE(y[1].equal(plain[1]) && y[2].equal(plain[2])) << dtype;
  }
}

TEST(LoraConv, ChangesOnePixelAsAMatrix) {
  const at::Tensor w = at::randn({8, 4, 1, 1}), bias = at::randn({8}), x = at::randn({2, 4, 10, 12});
  const test::WrittenWeights weights({{"a.weight", w}, {"a.bias", bias}});
  const Conv2d conv(weights.scope() / "a", 4, 8, 1);
  const Change change = change_of(".a", {8, 4});
  const LoraRows rows({&change.set});
  EXPECT_LE(relative_error(conv(x), at::conv2d(x, w + change.added.view({8, 4, 1, 1}), bias)), kTolerance);
}

TEST(LoraConv, ChangesTheDoubledPicture) {
  const at::Tensor w = at::randn({4, 4, 3, 3}), bias = at::randn({4}), x = at::randn({2, 4, 5, 6});
  const test::WrittenWeights weights({{"a.weight", w}, {"a.bias", bias}});
  const DoublingConv2d conv(weights.scope() / "a", 4, 4);
  const Change change = change_of(".a", {4, 4, 3, 3});
  const LoraRows rows({&change.set});
  EXPECT_LE(
      relative_error(conv(x), at::conv2d(at::upsample_nearest2d(x, {10, 12}), w + change.added, bias, 1, 1)),
      kTolerance);
}

}  // namespace
}  // namespace diffused::nn
