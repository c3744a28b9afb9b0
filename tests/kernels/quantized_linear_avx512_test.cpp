#include "kernels/quantized_linear_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/processor.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

using test::exact;
using test::relative_norm_error;

class QuantizedLinearAvx512 : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!has_avx512_for(GetParam()) || !has_avx512_vnni())
      GTEST_SKIP() << "this processor lacks the instructions";
    at::manual_seed(1);
  }
  at::Tensor random(at::IntArrayRef shape) const { return at::randn(shape, GetParam()); }
};

// The same arithmetic by the header's formulas, in float64 but for what decides how a value is rounded.
at::Tensor by_formula(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor w = weight.to(at::kFloat), scale = w.abs().amax(1, true) / 127;
  const at::Tensor q = (w / scale).round();
  const at::Tensor rows = x.to(at::kFloat), low = rows.amin(1, true).clamp_max(0);
  const at::Tensor step = (rows.amax(1, true).clamp_min(0) - low) / 255;
  const at::Tensor inverse = at::where(step > 0, 1 / step, at::zeros_like(step));
  const at::Tensor zero = (-low * inverse).round();
  const at::Tensor u = ((rows * inverse).round() + zero).clamp(0, 255);
  return at::linear(exact(u - zero) * exact(step), exact(q) * exact(scale), exact(bias));
}

TEST_P(QuantizedLinearAvx512, FollowsTheFormulaAtManyShapes) {
  for (const std::int64_t in : {1, 2, 30, 64, 130, 1000, 5000}) {
    for (const std::int64_t out : {1, 16, 33, 64, 200}) {
      const at::Tensor weight = random({out, in}), bias = random({out});
      ASSERT_TRUE(QuantizedLinear::takes(weight));
      const QuantizedLinear linear(weight, bias);
      for (const std::int64_t rows : {1, 6, 247}) {
        const at::Tensor x = random({rows, in}) * 2 + 0.5;
        ASSERT_LT(relative_norm_error(linear(x), by_formula(x, weight, bias)),
                  GetParam() == at::kFloat ? 2e-4 : 4e-3)
            << rows << " x " << in << " x " << out;
      }
    }
  }
}

TEST_P(QuantizedLinearAvx512, IsWithinTwoPercentOfTheExactProduct) {
  const at::Tensor weight = random({300, 1536}), x = random({100, 1536});
  const QuantizedLinear linear(weight, {});
  const at::Tensor product = at::linear(exact(x), exact(weight));
  EXPECT_LT(relative_norm_error(linear(x), product), 0.02);
  EXPECT_LT(relative_norm_error(linear(x, {.activation = Activation::gelu_tanh}), at::gelu(product, "tanh")),
            0.02);
}

TEST_P(QuantizedLinearAvx512, GatesAndAddsAndLetsPairsMeet) {
  const at::Tensor weight = random({128, 96}), bias = random({128}), x = random({3, 7, 96});
  const at::Tensor gate = random({3, 128}), added = random({3, 7, 128});
  const QuantizedLinear linear(weight, bias);
  const at::Tensor y = exact(linear(x));
  const double tolerance = GetParam() == at::kFloat ? 1e-6 : 6e-3;
  EXPECT_LT(relative_norm_error(linear(x, {.gate = gate, .added = added}),
                                y * exact(gate).unsqueeze(1) + exact(added)),
            tolerance);
  const at::Tensor turns = y.unflatten(-1, {-1, 2, kPairColumns});
  const at::Tensor met = (turns.select(-2, 0) * at::gelu(turns.select(-2, 1))).flatten(-2);
  EXPECT_LT(relative_norm_error(linear.pairs(x, Activation::gelu), met), 2 * tolerance);
}

TEST_P(QuantizedLinearAvx512, TakesRowsOfZerosOneSignAndOneLargeValue) {
  const at::Tensor weight = random({40, 64}), bias = random({40});
  const QuantizedLinear linear(weight, bias);
  at::Tensor x = random({5, 64});
  x[0].zero_();
  x[1].abs_();
  x[2] = -x[2].abs();
  x[3][7] = 1000;
  x[4].fill_(-3);
  EXPECT_TRUE(at::equal(linear(x)[0], bias));
  const at::Tensor expected = at::linear(exact(x), exact(weight), exact(bias));
  for (const int row : {1, 2, 3, 4})
    EXPECT_LT(relative_norm_error(linear(x)[row], expected[row]), 0.03) << row;
}

TEST_P(QuantizedLinearAvx512, GivesARowTheSameBytesAmongAnyRowsAndThreads) {
  const QuantizedLinear linear(random({200, 96}), random({200}));
  const at::Tensor x = random({7, 100, 128}).narrow(2, 16, 96);
  const at::Tensor together = linear(x, {.activation = Activation::silu});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (std::int64_t row = 0; row < 7; ++row) {
    EXPECT_TRUE(
        at::equal(together.narrow(0, row, 1), linear(x.narrow(0, row, 1), {.activation = Activation::silu})));
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Numbers, QuantizedLinearAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
