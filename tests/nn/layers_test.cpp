#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "nn/linear.h"
#include "nn/modulation.h"
#include "nn/norm.h"
#include "nn/qkv_projection.h"
#include "nn/rotary.h"
#include "support/golden.h"

namespace diffused::nn {
namespace {

using test::load_error;
using test::relative_error;
using test::WrittenWeights;
using ::testing::HasSubstr;

at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble); }

TEST(Activation, KnowsTheNamesOfConfigFiles) {
  EXPECT_EQ(activation_named("quick_gelu"), Activation::quick_gelu);
  EXPECT_EQ(activation_named("gelu"), Activation::gelu);
  EXPECT_EQ(activation_named("gelu_new"), Activation::gelu_tanh);
  EXPECT_EQ(activation_named("gelu_pytorch_tanh"), Activation::gelu_tanh);
  EXPECT_EQ(activation_named("swish"), Activation::silu);
  EXPECT_EQ(activation_named("silu"), Activation::silu);
  EXPECT_EQ(activation_named("relu"), Activation::relu);
  EXPECT_EQ(activation_named("GELU"), std::nullopt);
  EXPECT_EQ(activation_named(""), std::nullopt);
}

TEST(Activation, EqualsItsFormula) {
  const at::Tensor x = at::linspace(-5, 5, 101).view({1, 101});
  const at::Tensor w = wide(x);
  const auto error = [&](Activation a, const at::Tensor& y) {
    return (wide(activate(a, x)) - y).abs().max().item<double>();
  };
  EXPECT_EQ(error(Activation::relu, w.clamp_min(0)), 0);
  EXPECT_LE(error(Activation::silu, w / (1 + at::exp(-w))), 1e-6);
  EXPECT_LE(error(Activation::quick_gelu, w / (1 + at::exp(-1.702 * w))), 1e-6);
  EXPECT_LE(error(Activation::gelu, w * 0.5 * (1 + at::erf(w / std::sqrt(2.0)))), 1e-6);
  const at::Tensor inner = std::sqrt(2 / M_PI) * (w + 0.044715 * w * w * w);
  EXPECT_LE(error(Activation::gelu_tanh, 0.5 * w * (1 + at::tanh(inner))), 1e-6);
}

TEST(Linear, ReadsWeightAndBias) {
  const at::Tensor weight = at::randn({5, 3}), bias = at::randn({5}), x = at::randn({2, 4, 3});
  const WrittenWeights weights({{"a.weight", weight}, {"a.bias", bias}});
  const at::Tensor y = Linear(weights.scope() / "a", 3, 5)(x);
  EXPECT_LE(relative_error(y, x.matmul(weight.t()) + bias), 1e-6);
  EXPECT_LE(relative_error(Linear(weights.scope() / "a", 3, 5, /*bias=*/false)(x), x.matmul(weight.t())),
            1e-6);
}

TEST(Linear, LaysSeveralSideBySide) {
  const WrittenWeights weights({{"q.weight", at::randn({4, 3})},
                                {"q.bias", at::randn({4})},
                                {"k.weight", at::randn({4, 3})},
                                {"k.bias", at::randn({4})}});
  const weights::Scope scope = weights.scope();
  const at::Tensor x = at::randn({2, 30, 3});
  const at::Tensor both = Linear(scope, {"q", "k"}, 3, 4)(x);
  EXPECT_LE(relative_error(both, at::cat({Linear(scope / "q", 3, 4)(x), Linear(scope / "k", 3, 4)(x)}, 2)),
            1e-6);
}

TEST(Linear, NamesWhatIsMissingOrMisshapen) {
  const WrittenWeights weights({{"a.weight", at::randn({5, 3})}});
  EXPECT_THAT(load_error([&] { Linear(weights.scope() / "a", 3, 5); }), HasSubstr("a.bias"));
  EXPECT_THAT(load_error([&] { Linear(weights.scope() / "a", 4, 5); }), HasSubstr("a.weight"));
  EXPECT_THAT(load_error([&] { Linear(weights.scope() / "b", 3, 5); }), HasSubstr("b.weight"));
}

TEST(Norms, EqualTheirFormulas) {
  const at::Tensor weight = at::randn({12}), bias = at::randn({12}), x = at::randn({2, 5, 12}) * 3 + 1;
  const WrittenWeights weights({{"weight", weight}, {"bias", bias}});
  const at::Tensor w = wide(x), centred = w - w.mean(-1, true);
  const at::Tensor normed = centred / (centred.square().mean(-1, true) + 0.01).sqrt();
  EXPECT_LE(relative_error(layer_norm(x, 0.01), normed), 1e-6);
  EXPECT_LE(relative_error(LayerNorm(weights.scope(), 12, 0.01)(x), normed * weight + bias), 1e-6);
  const at::Tensor rms = w / (w.square().mean(-1, true) + 0.01).sqrt() * weight;
  EXPECT_LE(relative_error(RmsNorm(weights.scope(), 12, 0.01)(x), rms), 1e-6);
}

TEST(Norms, GroupNormTakesTheMeanOverAGroupOfChannels) {
  const at::Tensor weight = at::randn({6}), bias = at::randn({6}), x = at::randn({2, 6, 3, 5});
  const WrittenWeights weights({{"weight", weight}, {"bias", bias}});
  const at::Tensor grouped = wide(x).view({2, 3, -1}), centred = grouped - grouped.mean(-1, true);
  const at::Tensor normed = (centred / (centred.square().mean(-1, true) + 1e-6).sqrt()).view({2, 6, 3, 5});
  const at::Tensor expected = normed * weight.view({6, 1, 1}) + bias.view({6, 1, 1});
  const GroupNorm norm(weights.scope(), 3, 6, 1e-6);
  EXPECT_LE(relative_error(norm(x), expected), 1e-6);
  EXPECT_LE(relative_error(norm(x.contiguous(at::MemoryFormat::ChannelsLast)), expected), 1e-6);
  EXPECT_LE(relative_error(norm.with_silu(x), expected * at::sigmoid(expected)), 1e-6);
}

TEST(Norms, RmsNormSumsInFloat32) {
  const WrittenWeights weights({{"weight", at::ones({1024})}});
  const at::Tensor x =
      at::full({1, 1024}, 300, at::kBFloat16);  // its squares do not fit into float16 and add up badly
  EXPECT_TRUE(RmsNorm(weights.scope(at::kBFloat16), 1024, 1e-6)(x).equal(at::ones({1, 1024}, at::kBFloat16)));
}

TEST(Rotation, TurnsPairsByTheirPositionAlongEachAxis) {
  // Two axes of 4 and 2 values: pairs 0 and 1 follow the first, pair 2 the second.
  const at::Tensor positions = at::tensor({0.0f, 0.0f, 3.0f, 5.0f}).view({2, 2});
  constexpr std::int64_t kSizes[] = {4, 2};
  const Rotation rotation = rotation_of(positions, kSizes, 100);
  const at::Tensor x = at::randn({2, 3, 2, 6}), y = rotate(x, rotation);
  EXPECT_TRUE(y.select(2, 0).equal(x.select(2, 0)));  // at the origin nothing moves
  const double angles[] = {3, 3 * std::pow(100, -0.5), 5};
  for (int pair = 0; pair < 3; ++pair) {
    const at::Tensor a = wide(x).select(2, 1).select(-1, 2 * pair);
    const at::Tensor b = wide(x).select(2, 1).select(-1, 2 * pair + 1);
    const double cos = std::cos(angles[pair]), sin = std::sin(angles[pair]);
    EXPECT_LE(relative_error(y.select(2, 1).select(-1, 2 * pair), a * cos - b * sin), 1e-6);
    EXPECT_LE(relative_error(y.select(2, 1).select(-1, 2 * pair + 1), b * cos + a * sin), 1e-6);
  }
}

TEST(Rotation, TurnsHalvesAgainstEachOther) {
  const Rotation rotation = rotation_of_halves(3, 4, 100, at::kCPU);
  const at::Tensor x = at::randn({2, 3, 3, 4}), y = rotate_halves(x, rotation);
  EXPECT_TRUE(y.select(2, 0).equal(x.select(2, 0)));
  for (int pair = 0; pair < 2; ++pair) {
    const at::Tensor a = wide(x).select(2, 2).select(-1, pair), b = wide(x).select(2, 2).select(-1, pair + 2);
    const double angle = 2 * std::pow(100, -0.5 * pair), cos = std::cos(angle), sin = std::sin(angle);
    EXPECT_LE(relative_error(y.select(2, 2).select(-1, pair), a * cos - b * sin), 1e-6);
    EXPECT_LE(relative_error(y.select(2, 2).select(-1, pair + 2), b * cos + a * sin), 1e-6);
  }
}

TEST(Rotation, RoundsItsAnglesWhereItIsAsked) {
  // An angle of 1000.00006 radians, which float32 has as 1000.00006104.
  const at::Tensor positions = at::tensor({1000.00006}, at::kDouble).unsqueeze(1);
  constexpr std::int64_t kSizes[] = {2};
  const auto cos = [&](Angles angles) {
    return rotation_of(positions, kSizes, 1, angles).cos[0][0].item<float>();
  };
  EXPECT_EQ(cos(Angles::exact), static_cast<float>(std::cos(1000.00006)));
  EXPECT_EQ(cos(Angles::rounded), static_cast<float>(std::cos(static_cast<double>(1000.00006f))));
  EXPECT_NE(cos(Angles::exact), cos(Angles::rounded));
}

TEST(Norms, RmsNormRotatedIsTheNormThenTheRotation) {
  const WrittenWeights weights({{"weight", at::randn({32})}});
  constexpr std::int64_t kSizes[] = {32};
  const Rotation rotation = rotation_of(at::arange(5).unsqueeze(1), kSizes, 100);
  const at::Tensor x = at::randn({2, 5, 3, 32}).transpose(1, 2);  // [B, H, L, D]
  const RmsNorm norm(weights.scope(), 32, 1e-6);
  EXPECT_LE(relative_error(norm.rotated(x, rotation), rotate(norm(x), rotation)), 1e-6);
}

TEST(QkvProjection, SplitsOneLinearIntoHeadsAndTurnsTwoOfThem) {
  std::vector<std::pair<std::string, at::Tensor>> tensors = {{"norm_q.weight", at::randn({4})},
                                                             {"norm_k.weight", at::randn({4})}};
  for (const char* name : {"to_q", "to_k", "to_v"}) {
    tensors.emplace_back(name + std::string(".weight"), at::randn({8, 8}));
    tensors.emplace_back(name + std::string(".bias"), at::randn({8}));
  }
  const WrittenWeights weights(tensors);
  const weights::Scope scope = weights.scope();
  const at::Tensor x = at::randn({3, 5, 8});
  const auto heads_of = [&](const char* name) {
    return Linear(scope / name, 8, 8)(x).view({3, 5, 2, 4}).transpose(1, 2);
  };
  constexpr std::int64_t kSizes[] = {4};
  const Rotation rotation = rotation_of(at::arange(5).unsqueeze(1), kSizes, 100);
  const RmsNorm norm_q(scope / "norm_q", 4, 1e-6);
  const QkvForm form{.heads = 2, .head_dim = 4, .rms_norm_eps = 1e-6};
  const Heads normed = QkvProjection(scope, form, kQkvNames)(x);
  const Heads turned = QkvProjection(scope, form, kQkvNames)(x, rotation);
  const Heads plain = QkvProjection(scope, {.heads = 2, .head_dim = 4}, kQkvNames)(x);
  EXPECT_LE(relative_error(plain.q, heads_of("to_q")), 1e-6);
  EXPECT_LE(relative_error(normed.q, norm_q(heads_of("to_q"))), 1e-6);
  EXPECT_LE(relative_error(turned.q, rotate(norm_q(heads_of("to_q")), rotation)), 1e-6);
  EXPECT_LE(relative_error(turned.k, rotate(normed.k, rotation)), 1e-6);
  EXPECT_TRUE(turned.v.equal(plain.v));
}

TEST(Modulation, ScalesShiftsAndGatesEachRowByItsOwnVector) {
  const at::Tensor x = at::randn({2, 7, 4}), y = at::randn({2, 7, 4});
  const at::Tensor shift = at::randn({2, 4}), scale = at::randn({2, 4});
  for (int row = 0; row < 2; ++row) {
    const at::Tensor expected = layer_norm(x[row], 1e-6) * (1 + scale[row]) + shift[row];
    EXPECT_LE(relative_error(modulated_layer_norm(x, shift, scale, 1e-6)[row], expected), 1e-6);
    EXPECT_LE(relative_error(add_gated(x, scale, y)[row], x[row] + scale[row] * y[row]), 1e-6);
  }
}

TEST(Conv2d, StridesAndPads) {
  const at::Tensor weight = at::randn({5, 2, 3, 3}), bias = at::randn({5}), x = at::randn({1, 2, 9, 8});
  const WrittenWeights weights({{"weight", weight}, {"bias", bias}});
  EXPECT_LE(relative_error(Conv2d(weights.scope(), 2, 5, 3, 1, 1)(x),
                           at::conv2d(wide(x), wide(weight), wide(bias), 1, 1)),
            1e-6);
  EXPECT_LE(relative_error(Conv2d(weights.scope(), 2, 5, 3, 2)(x),
                           at::conv2d(wide(x), wide(weight), wide(bias), 2)),
            1e-6);
  EXPECT_THAT(load_error([&] { Conv2d(weights.scope(), 2, 5, 1); }), HasSubstr("weight"));
}

TEST(FeedForward, IsTwoLinearsAroundAGelu) {
  const WrittenWeights weights({{"net.0.proj.weight", at::randn({32, 8})},
                                {"net.0.proj.bias", at::randn({32})},
                                {"net.2.weight", at::randn({8, 32})},
                                {"net.2.bias", at::randn({8})}});
  const weights::Scope scope = weights.scope();
  const at::Tensor x = at::randn({3, 20, 8});
  const at::Tensor hidden = at::gelu(Linear(scope / "net.0.proj", 8, 32)(x), "tanh");
  const at::Tensor sum = at::randn({3, 20, 8}), gate = at::randn({3, 8});
  EXPECT_LE(relative_error(FeedForward(scope, 8).add_to(sum, x, gate),
                           sum + gate.unsqueeze(1) * Linear(scope / "net.2", 32, 8)(hidden)),
            1e-6);
}

TEST(Embedding, LooksUpRows) {
  const at::Tensor table = at::randn({10, 4});
  const WrittenWeights weights({{"weight", table}});
  const at::Tensor ids = at::tensor({3, 9, 3, 0}, at::kLong).view({2, 2});
  EXPECT_TRUE(Embedding(weights.scope(), 10, 4)(ids)[0][1].equal(table[9]));
  EXPECT_TRUE(Embedding(weights.scope(), 10, 4)(ids)[1][0].equal(table[3]));
}

TEST(TimestepSinusoid, HasCosinesFirstAndFallingFrequencies) {
  const at::Tensor out = timestep_sinusoid(at::tensor({0.0f, 857.6923f}), 8);
  EXPECT_TRUE(out[0].equal(at::tensor({1.0f, 1.0f, 1.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f})));
  for (int i = 0; i < 4; ++i) {
    const double angle = 857.6923 * std::pow(10000, -i / 4.0);
    EXPECT_NEAR(out[1][i].item<double>(), std::cos(angle), 1e-4);
    EXPECT_NEAR(out[1][i + 4].item<double>(), std::sin(angle), 1e-4);
  }
}

TEST(PatchEmbedding, IsAConvolutionPlusTheCentreOfThePositionTable) {
  const at::Tensor weight = at::randn({6, 3, 2, 2}), bias = at::randn({6}), table = at::randn({1, 49, 6});
  const WrittenWeights weights({{"proj.weight", weight}, {"proj.bias", bias}, {"pos_embed", table}});
  const PatchEmbedding embed(weights.scope(), {.patch_size = 2, .in_channels = 3, .size = 6, .side_max = 7});
  const at::Tensor latents =
      at::randn({2, 3, 8, 6});  // 4 by 3 patches: rows 1…4 and columns 2…4 of the table
  const at::Tensor tokens = at::conv2d(latents, weight, bias, 2).flatten(2).transpose(1, 2);
  const at::Tensor positions = table.view({7, 7, 6}).slice(0, 1, 5).slice(1, 2, 5).reshape({12, 6});
  EXPECT_LE(relative_error(embed(latents), tokens + positions), 1e-6);
}

}  // namespace
}  // namespace diffused::nn
