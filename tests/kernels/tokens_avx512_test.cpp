#include "kernels/tokens_avx512.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/avx512_test.h"
#include "support/relative_norm_error.h"

namespace diffused::kernels {
namespace {

using test::exact;
using test::relative_norm_error;

class TokensAvx512 : public Avx512Test {
 protected:
  double tolerance() const { return GetParam() == at::kFloat ? 1e-6 : 3e-3; }
};

TEST_P(TokensAvx512, ModulatesNormalisedTokens) {
  for (const std::int64_t size : {1, 15, 16, 17, 40, 192, 1536}) {
    const at::Tensor x = random({3, 7, size}) * 2 + 5;
    const at::Tensor modulations = random({3, 2 * size});
    const at::Tensor shift = modulations.narrow(1, 0, size), scale = modulations.narrow(1, size, size);
    ASSERT_TRUE(tokens_take({x, shift, scale}));
    const at::Tensor expected =
        at::layer_norm(exact(x), {size}, {}, {}, 1e-6) * (1 + exact(scale).unsqueeze(1)) +
        exact(shift).unsqueeze(1);
    EXPECT_LT(relative_norm_error(modulated_layer_norm(x, shift, scale, 1e-6), expected), tolerance())
        << size;
  }
}

TEST_P(TokensAvx512, NormalisesTokens) {
  for (const std::int64_t size : {1, 17, 40, 320}) {
    const at::Tensor x = random({3, 9, size}).narrow(1, 1, 7) * 2 + 5, weight = random({size}),
                     bias = random({size});
    ASSERT_TRUE(tokens_take({x, weight, bias}));
    const at::Tensor expected = at::layer_norm(exact(x), {size}, exact(weight), exact(bias), 1e-5);
    EXPECT_LT(relative_norm_error(layer_norm(x, weight, bias, 1e-5), expected), tolerance()) << size;
  }
}

TEST_P(TokensAvx512, NormalisesTokensFarFromZero) {
  const at::Tensor x = random({1, 4, 1536}) + 1000;
  const at::Tensor zero = at::zeros({1, 1536}, GetParam());
  EXPECT_LT(relative_norm_error(modulated_layer_norm(x, zero, zero, 1e-6),
                                at::layer_norm(exact(x), {1536}, {}, {}, 1e-6)),
            100 * tolerance());
}

TEST_P(TokensAvx512, AddsGatedTokensFromViews) {
  for (const std::int64_t size : {1, 17, 64, 192}) {
    const at::Tensor x = random({2, 5, size}), gate = random({2, 3 * size}).narrow(1, size, size);
    const at::Tensor y = random({2, 11, size}).narrow(1, 3, 5);
    const at::Tensor expected = exact(x) + exact(gate).unsqueeze(1) * exact(y);
    EXPECT_LT(relative_norm_error(add_gated(x, gate, y), expected), tolerance()) << size;
  }
}

TEST_P(TokensAvx512, NormalisesHeadsOfAProjectionInPlaceOrder) {
  for (const std::int64_t size : {16, 40, 64, 128}) {
    const at::Tensor q = random({2, 5, 3, 4, size}).select(2, 1).transpose(1, 2);  // [B, H, L, D]
    const at::Tensor weight = random({size});
    ASSERT_TRUE(tokens_take({q, weight}));
    const at::Tensor y = rms_norm(q, weight, 1e-6);
    const at::Tensor expected = exact(q) * at::rsqrt(exact(q).square().mean(-1, true) + 1e-6) * exact(weight);
    EXPECT_LT(relative_norm_error(y, expected), 1.5 * tolerance()) << size;
    EXPECT_TRUE(y.transpose(1, 2).is_contiguous());
  }
  const at::Tensor tokens = random({2, 9, 100}), weight = random({100});
  EXPECT_EQ(rms_norm(tokens, weight, 1e-6).sizes(), tokens.sizes());
}

TEST_P(TokensAvx512, TurnNormalisedHeadsByTheirPlaces) {
  for (const std::int64_t size : {2, 16, 34, 64, 128}) {
    const at::Tensor q = random({2, 5, 3, 4, size}).select(2, 1).transpose(1, 2);  // [B, H, L, D]
    const at::Tensor weight = random({size});
    const at::Tensor frequencies = at::pow(500.0, at::arange(0, size, 2, at::kDouble) / -size);
    const Rotation all = rotation_by(at::outer(at::arange(7, at::kDouble) * 11, frequencies));
    const Rotation rotation{.cos = all.cos.narrow(0, 2, 5), .sin = all.sin.narrow(0, 2, 5)};
    const at::Tensor y = rms_norm_rotated(q, weight, 1e-6, rotation);
    const at::Tensor normal = exact(q) * at::rsqrt(exact(q).square().mean(-1, true) + 1e-6) * exact(weight);
    const at::Tensor pairs = normal.unflatten(-1, {-1, 2}).contiguous();
    const at::Tensor exponents = at::arange(0, size, 2, at::kDouble) / size;
    const at::Tensor angles = at::outer(at::arange(2, 7) * 11, at::pow(500, -exponents));  // [L, D / 2]
    const at::Tensor turned = at::view_as_complex(pairs) * at::polar(at::ones_like(angles), angles);
    EXPECT_LT(relative_norm_error(y, at::view_as_real(turned).flatten(-2)), 2 * tolerance()) << size;
    EXPECT_TRUE(y.transpose(1, 2).is_contiguous());
  }
}

TEST_P(TokensAvx512, RefuseWhatTheyCannotTake) {
  const at::Tensor x = random({2, 3, 32});
  EXPECT_TRUE(tokens_take({x, x}));
  EXPECT_FALSE(tokens_take({x, x.to(at::kDouble)}));
  EXPECT_FALSE(tokens_take({x.to(at::kHalf)}));
  EXPECT_FALSE(tokens_take({x.transpose(1, 2)}));
  EXPECT_FALSE(tokens_take({random({1, 1, 1, 2, 32})}));
}

INSTANTIATE_TEST_SUITE_P(Numbers, TokensAvx512, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace diffused::kernels
