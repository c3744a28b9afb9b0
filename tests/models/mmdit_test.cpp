#include "models/mmdit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/mmdit_weights.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Mmdit load_mmdit(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return Mmdit(MmditConfig::from_json(golden.config()).value(), golden.scope(dtype));
}

at::Tensor velocity(const Mmdit& mmdit, const Golden& golden, const MmditContext& context,
                    std::span<const std::int64_t> skip_layers = {}) {
  const auto dtype = context.tokens.scalar_type();
  const at::Tensor modulations = mmdit.modulations(golden.in("timesteps"), golden.in("pooled").to(dtype));
  return mmdit.forward(golden.in("latents").to(dtype), context, modulations, skip_layers);
}

class MmditGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(MmditGolden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const Mmdit mmdit = load_mmdit(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  const at::Tensor context = mmdit.embed_context(golden.in("text"));
  const at::Tensor modulations = mmdit.modulations(golden.in("timesteps"), golden.in("pooled"));
  EXPECT_LE(relative_error(context, golden.out("context")), kGoldenTolerance);
  EXPECT_LE(relative_error(modulations, golden.out("modulations")), kGoldenTolerance);
  const at::Tensor velocity = mmdit.forward(golden.in("latents"), {context, {}}, modulations);
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), kGoldenTolerance);
}

// SD3-medium; SD3.5-medium: QK norm and dual attention; SD3.5-large: QK norm; patches of one on odd sides,
// with dual attention in the last block.
INSTANTIATE_TEST_SUITE_P(Cases, MmditGolden,
                         ::testing::Values("mmdit_sd3", "mmdit_sd35_medium", "mmdit_sd35_large",
                                           "mmdit_patch_one"));

TEST(Mmdit, IsWithinThreePercentWithItsBlocksInInt8) {
  MmditConfig config{
      .num_layers = 4, .num_attention_heads = 6, .joint_attention_dim = 128, .pooled_projection_dim = 64};
  const test::WrittenWeights weights(test::MmditWeights::random(config));
  const at::Tensor latents = at::randn({2, 16, 16, 24}), text = at::randn({2, 30, 128});
  const at::Tensor pooled = at::randn({2, 64}), timesteps = at::rand({2}) * 1000;
  const auto forward = [&](at::ScalarType dtype) {
    const Mmdit mmdit(config, weights.scope(dtype));
    return mmdit
        .forward(latents.to(dtype), {mmdit.embed_context(text.to(dtype)), {}},
                 mmdit.modulations(timesteps, pooled.to(dtype)))
        .to(at::kFloat);
  };
  const at::Tensor exact = forward(at::kFloat);
  config.block_format = nn::LinearFormat::int8;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!nn::why_no_int8(dtype, at::kCPU).empty()) GTEST_SKIP() << nn::why_no_int8(dtype, at::kCPU);
    const at::Tensor difference = forward(dtype) - exact;
    EXPECT_LT((difference.norm() / exact.norm()).item<double>(), 0.03);
    EXPECT_GT(difference.norm().item<double>(), 0);
  }
}

TEST(Mmdit, PassesOverTheBlocksNamed) {
  const std::vector<std::pair<const char*, std::vector<std::vector<std::int64_t>>>> cases = {
      {"mmdit_sd3", {{1, 2}, {0, 2}, {0, 1}, {1}}}, {"mmdit_sd35_medium", {{1, 2}, {0, 2}}}};
  for (const auto& [name, skips] : cases) {
    const Golden golden(name);
    const Mmdit mmdit = load_mmdit(golden);
    const MmditContext context{mmdit.embed_context(golden.in("text")), {}};
    for (const auto& skip : skips) {
      std::string stage = "velocity.skip";
      for (const auto block : skip) stage += "_" + std::to_string(block);
      EXPECT_LE(relative_error(velocity(mmdit, golden, context, skip), golden.out(stage)), kGoldenTolerance)
          << stage;
    }
  }
}

TEST(Mmdit, GivesOneTokenForManyEqualOnes) {
  const Golden golden("mmdit_without_t5");
  const Mmdit mmdit = load_mmdit(golden);
  const at::Tensor text = golden.in("text");  // the 256 zero tokens that follow it are left out of the file
  const at::Tensor plain = mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, 256}));
  const at::Tensor expected = velocity(mmdit, golden, {plain, {}});
  EXPECT_LE(relative_error(expected, golden.out("velocity")), kGoldenTolerance);

  at::Tensor repeats = at::ones({text.size(1) + 1});
  repeats[-1] = 256;
  const at::Tensor folded = mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, 1}));
  const at::Tensor actual = velocity(mmdit, golden, {folded, repeats});
  EXPECT_LE(relative_error(actual, expected), kGoldenTolerance);
  EXPECT_LE(relative_error(actual, golden.out("velocity")), kGoldenTolerance);
  // The count matters: with another one the result is another.
  repeats[-1] = 255;
  EXPECT_GT(relative_error(velocity(mmdit, golden, {folded, repeats}), expected), kGoldenTolerance);
}

TEST(Mmdit, GivesOneTokenForManyEqualOnesInBfloat16) {
  const Golden golden("mmdit_without_t5");
  const Mmdit mmdit = load_mmdit(golden, at::kBFloat16);
  const at::Tensor text = golden.in("text").to(at::kBFloat16);
  at::Tensor repeats = at::ones({text.size(1) + 1});
  repeats[-1] = 256;
  const MmditContext folded{mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, 1})), repeats};
  const MmditContext plain{mmdit.embed_context(at::constant_pad_nd(text, {0, 0, 0, 256})), {}};
  EXPECT_LE(relative_error(velocity(mmdit, golden, folded), golden.out("velocity")), 0.04);
  EXPECT_LE(relative_error(velocity(mmdit, golden, plain), golden.out("velocity")), 0.04);
}

TEST(Mmdit, IsCloseInBfloat16) {
  for (const char* name : {"mmdit_sd3", "mmdit_sd35_medium"}) {
    const Golden golden(name);
    const Mmdit mmdit = load_mmdit(golden, at::kBFloat16);
    const at::Tensor out =
        velocity(mmdit, golden, {mmdit.embed_context(golden.in("text").to(at::kBFloat16)), {}});
    EXPECT_EQ(out.scalar_type(), at::kBFloat16);
    EXPECT_LE(relative_error(out, golden.out("velocity")), 0.04) << name;
  }
}

TEST(Mmdit, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("mmdit_sd3");
  const auto config = MmditConfig::from_json(golden.config()).value();
  auto other = config;
  other.rms_qk_norm = true;
  EXPECT_THAT(test::load_error([&] { Mmdit(other, golden.scope()); }),
              HasSubstr("transformer_blocks.0.attn.norm_q.weight"));
  other = config;
  other.dual_attention_layers = {2};
  EXPECT_THAT(test::load_error([&] { Mmdit(other, golden.scope()); }),
              HasSubstr("transformer_blocks.2.norm1.linear.weight"));
  other = config;
  other.pos_embed_max_size = 13;
  EXPECT_THAT(test::load_error([&] { Mmdit(other, golden.scope()); }), HasSubstr("pos_embed.pos_embed"));
}

TEST(MmditDeathTest, ChecksThatTheLatentsFitTheTable) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Golden golden("mmdit_sd3");
  const Mmdit mmdit = load_mmdit(golden);
  EXPECT_EQ(mmdit.config().latent_side_max(), 24);
  const at::Tensor modulations = mmdit.modulations(golden.in("timesteps"), golden.in("pooled"));
  const MmditContext context{mmdit.embed_context(golden.in("text")), {}};
  EXPECT_DEATH(mmdit.forward(at::zeros({3, 16, 26, 8}), context, modulations), "latents of 26x8");
  EXPECT_DEATH(mmdit.forward(at::zeros({3, 16, 7, 8}), context, modulations), "latents of 7x8");
}

TEST(MmditConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = MmditConfig::from_json({}).value();
  EXPECT_EQ(config.inner_dim(), 1152);
  EXPECT_EQ(config.num_layers, 18);
  EXPECT_EQ(config.pos_embed_max_size, 96);
  EXPECT_FALSE(config.rms_qk_norm);
  EXPECT_THAT(config.dual_attention_layers, IsEmpty());
}

TEST(MmditConfig, RefusesWhatNoNetworkCanHave) {
  const auto error = [](const char* json) {
    return MmditConfig::from_json(boost::json::parse(json).as_object()).error();
  };
  EXPECT_EQ(error(R"({"num_attention_heads": 0})").field, "num_attention_heads");
  EXPECT_EQ(error(R"({"patch_size": -2})").field, "patch_size");
  EXPECT_EQ(error(R"({"caption_projection_dim": 1000})").field, "caption_projection_dim");
  EXPECT_EQ(error(R"({"dual_attention_layers": [0, "1"]})").field, "dual_attention_layers");
  EXPECT_EQ(error(R"({"num_layers": 1e30})").field, "num_layers");
  EXPECT_EQ(error(R"({"qk_norm": 1})").field, "qk_norm");
  EXPECT_EQ(error(R"({"qk_norm": "layer_norm"})").code, ErrorCode::unsupported);
  EXPECT_EQ(error(R"({"patch_size": 0, "num_layers": 0})").field,
            "patch_size");  // the first in reading order
}

TEST(MmditConfig, TakesTheInputChannelsWhenTheOutputChannelsAreNull) {
  EXPECT_EQ(MmditConfig::from_json({{"in_channels", 33}, {"out_channels", nullptr}})->out_channels, 33);
}

TEST(MmditConfig, CountsTheWorkOfThePublishedModels) {
  const MmditConfig medium{.num_layers = 24, .num_attention_heads = 24};
  EXPECT_NEAR(medium.flops(1024, 333) / 1e12, 2.107, 0.01);
  EXPECT_NEAR(medium.flops(4096, 333) / 1e12, 8.904, 0.02);
  MmditConfig medium35 = medium;
  medium35.dual_attention_layers.assign(13, 0);
  EXPECT_NEAR(medium35.flops(4096, 333) / 1e12, 11.25, 0.03);
  const MmditConfig large{.num_layers = 38, .num_attention_heads = 38};
  EXPECT_NEAR(large.flops(1024, 333) / 1e12, 7.978, 0.03);
}

}  // namespace
}  // namespace diffused::models
