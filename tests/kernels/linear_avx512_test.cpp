#include "kernels/linear_avx512.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/avx512_test.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

using test::relative_norm_error;

class LinearAvx512 : public Avx512Test {
 protected:
  // One rounding to bfloat16 is at most 2^-8 of a value.
  double tolerance() const { return GetParam() == at::kFloat ? 3e-6 : 4e-3; }
};

TEST_P(LinearAvx512, FollowsTheFormulaAtManyShapes) {
  for (const std::int64_t in : {2, 16, 30, 64, 130, 1000}) {
    for (const std::int64_t out : {1, 15, 16, 17, 33, 63, 64, 65, 200}) {
      const at::Tensor weight = random({out, in}), bias = random({out});
      ASSERT_TRUE(PackedLinear::takes(weight));
      const PackedLinear linear(weight, bias);
      for (const std::int64_t rows : {1, 5, 6, 7, 241, 500}) {
        const at::Tensor x = random({rows, in});
        const at::Tensor expected =
            at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
        ASSERT_LT(relative_norm_error(linear(x), expected), tolerance())
            << rows << " x " << in << " x " << out;
      }
    }
  }
}

TEST_P(LinearAvx512, GoesThroughATallWeightPartByPart) {
  for (const std::int64_t in : {1100, 2080, 2100, 4500, 4512}) {
    const at::Tensor weight = random({70, in}), bias = random({70}), x = random({251, in});
    const at::Tensor expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    EXPECT_LT(relative_norm_error(PackedLinear(weight, bias)(x), expected), tolerance()) << in;
  }
}

TEST_P(LinearAvx512, AppliesEachFunction) {
  const at::Tensor weight = random({70, 32}), x = random({9, 32});
  const PackedLinear linear(weight, {});
  const at::Tensor sums = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
  EXPECT_LT(relative_norm_error(linear(x), sums), tolerance());
  const auto expect = [&](Activation activation, const at::Tensor& expected) {
    EXPECT_LT(relative_norm_error(linear(x, {.activation = activation}), expected), tolerance())
        << static_cast<int>(activation);
  };
  expect(Activation::relu, sums.relu());
  expect(Activation::silu, at::silu(sums));
  expect(Activation::gelu, at::gelu(sums));
  expect(Activation::gelu_tanh, at::gelu(sums, "tanh"));
  expect(Activation::quick_gelu, sums * at::sigmoid(sums * 1.702));
}

TEST_P(LinearAvx512, KeepsTheTailsOfGelu) {
  const at::Tensor x = at::linspace(-14, 14, 5000, GetParam()).unsqueeze(1).expand({-1, 2}).contiguous();
  const PackedLinear half_of_both(at::full({1, 2}, 0.5, GetParam()), {});
  const at::Tensor y = half_of_both(x, {.activation = Activation::gelu}).squeeze(1).to(at::kDouble);
  const at::Tensor expected = at::gelu(x.select(1, 0).to(at::kDouble));
  const at::Tensor allowed =
      expected.abs() * (GetParam() == at::kFloat ? 3e-7 : 4e-3) + x.select(1, 0).abs() * 2e-7;
  EXPECT_TRUE(((y - expected).abs() <= allowed).all().item<bool>());
}

TEST_P(LinearAvx512, GatesAndAddsInThisOrder) {
  for (const std::int64_t out : {5, 48, 64, 200}) {
    const at::Tensor weight = random({out, 64}), bias = random({out}), x = random({3, 7, 64});
    const PackedLinear linear(weight, bias);
    const at::Tensor sums = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    // Views with gaps, as networks have them.
    const at::Tensor gate = random({3, 3 * out}).narrow(1, out, out);
    const at::Tensor added = random({3, 20, out}).narrow(1, 4, 7);
    const at::Tensor gates = gate.to(at::kDouble).unsqueeze(1), addends = added.to(at::kDouble);
    EXPECT_LT(relative_norm_error(linear(x, {.added = added}), sums + addends), tolerance()) << out;
    EXPECT_LT(relative_norm_error(linear(x, {.gate = gate}), sums * gates), tolerance()) << out;
    EXPECT_LT(relative_norm_error(linear(x, {.activation = Activation::relu, .gate = gate, .added = added}),
                                  sums.relu() * gates + addends),
              tolerance())
        << out;
  }
}

TEST_P(LinearAvx512, LetsValuesAndGatesInTurnsMeet) {
  for (const std::int64_t out : {32, 96, 640}) {
    const at::Tensor weight = random({2 * out, 64}), bias = random({2 * out}), x = random({3, 7, 64});
    const auto turns = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble))
                           .unflatten(-1, {-1, 2, kPairColumns});
    const at::Tensor expected =
        (turns.select(-2, 0) * at::gelu(turns.select(-2, 1))).flatten(-2);  // [3, 7, out]
    EXPECT_LT(relative_norm_error(PackedLinear(weight, bias).pairs(x, Activation::gelu), expected),
              tolerance())
        << out;
  }
}

TEST_P(LinearAvx512, ReadsStridedRowsAndKeepsTheLeadingShape) {
  const at::Tensor weight = random({48, 64}), bias = random({48});
  const PackedLinear linear(weight, bias);
  const auto expected = [&](const at::Tensor& x) {
    return at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  };
  const at::Tensor joint = random({3, 20, 128});
  const at::Tensor part = joint.narrow(1, 4, 11).narrow(2, 64, 64);
  EXPECT_LT(relative_norm_error(linear(part), expected(part)), tolerance());
  const at::Tensor crossed = random({3, 64, 7}).transpose(1, 2);
  EXPECT_LT(relative_norm_error(linear(crossed), expected(crossed)), tolerance());
  const at::Tensor deep = random({2, 3, 4, 64});
  EXPECT_EQ(linear(deep).sizes(), (std::vector<std::int64_t>{2, 3, 4, 48}));
  EXPECT_LT(relative_norm_error(linear(deep), expected(deep)), tolerance());
  EXPECT_EQ(linear(random({0, 64})).sizes(), (std::vector<std::int64_t>{0, 48}));
  const PackedLinear transposed(random({64, 48}).t(), {});
  EXPECT_EQ(transposed(random({5, 64})).size(1), 48);
}

TEST_P(LinearAvx512, GivesARowTheSameBytesAmongAnyRowsAndThreads) {
  const PackedLinear linear(random({200, 96}), random({200}));
  const at::Tensor x = random({700, 96});
  const LinearExtras extras{.activation = Activation::gelu_tanh};
  const at::Tensor together = linear(x, extras);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const std::int64_t rows : {1, 2, 3, 8, 77, 350}) {
    for (std::int64_t first = 0; first + rows <= 700; first += 171) {
      EXPECT_TRUE(at::equal(together.narrow(0, first, rows), linear(x.narrow(0, first, rows), extras)));
    }
  }
  at::set_num_threads(threads);
}

TEST_P(LinearAvx512, RefusesWhatItCannotTake) {
  EXPECT_FALSE(PackedLinear::takes(random({8, 8}).to(at::kHalf)));
  EXPECT_FALSE(PackedLinear::takes(random({8, 8, 1})));
  EXPECT_EQ(PackedLinear::takes(random({8, 7})), GetParam() == at::kFloat);
}

INSTANTIATE_TEST_SUITE_P(Numbers, LinearAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
