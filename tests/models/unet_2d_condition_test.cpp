#include "models/unet_2d_condition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/golden.h"
#include "support/rows.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kCases[] = {"unet_sd1", "unet_odd_size", "unet_xl", "unet_distilled"};

Unet2DCondition load_unet(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return Unet2DCondition(Unet2DConditionConfig::from_json(golden.config()).value(), golden.scope(dtype));
}

UnetConditioning conditioning(const Unet2DCondition& unet, const Golden& golden) {
  UnetConditioning all{.timesteps = golden.in("timesteps"), .guidance = {}, .pooled = {}, .time_ids = {}};
  if (unet.config().time_cond_proj_dim > 0) all.guidance = golden.in("guidance");
  if (unet.config().text_time) {
    all.pooled = golden.in("pooled");
    all.time_ids = golden.in("time_ids");
  }
  return all;
}

at::Tensor noise(const Unet2DCondition& unet, const Golden& golden) {
  const auto rounded = [&](const at::Tensor& x) { return x.to(unet.options()); };
  return unet.forward(rounded(golden.in("latents")), unet.embed_context(rounded(golden.in("text"))),
                      unet.modulations(conditioning(unet, golden)));
}

class Unet2DConditionGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(Unet2DConditionGolden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const Unet2DCondition unet = load_unet(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  EXPECT_LE(relative_error(unet.embed_context(golden.in("text")), golden.out("context")), kGoldenTolerance);
  EXPECT_LE(relative_error(unet.modulations(conditioning(unet, golden)), golden.out("modulations")),
            kGoldenTolerance);
  EXPECT_LE(relative_error(noise(unet, golden), golden.out("noise")), kGoldenTolerance);
}

TEST_P(Unet2DConditionGolden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  const at::Tensor output = noise(load_unet(golden, at::kBFloat16), golden);
  EXPECT_EQ(output.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(output, golden.out("noise")), 0.06);
}

TEST_P(Unet2DConditionGolden, GivesARowOfABatchTheBitsItHasAlone) {
  const Golden golden(GetParam());
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Unet2DCondition unet = load_unet(golden, dtype);
    const auto rows_of = [&](const at::Tensor& x) {  // as many as are compared, each with noise of its own
      auto shape = x.sizes().vec();
      shape.front() = test::kRowsMax;
      return at::randn(shape).to(dtype);
    };
    const at::Tensor latents = rows_of(golden.in("latents")), text = rows_of(golden.in("text"));
    const at::Tensor modulations = unet.modulations(conditioning(unet, golden));
    const at::Tensor shifts = rows_of(modulations);
    test::expect_rows_independent(
        [&](std::int64_t row, std::int64_t rows) {
          const auto pick = [&](const at::Tensor& t) { return t.narrow(0, row, rows); };
          return unet.forward(pick(latents), unet.embed_context(pick(text)), pick(shifts));
        },
        GetParam() + std::string(" ") + at::toString(dtype));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Unet2DConditionGolden, ::testing::ValuesIn(kCases));

TEST(Unet2DCondition, GivesEachRowItsOwnTimestep) {
  const Golden golden("unet_sd1");
  const Unet2DCondition unet = load_unet(golden);
  const at::Tensor context = unet.embed_context(golden.in("text"));
  const at::Tensor modulations = unet.modulations(conditioning(unet, golden));
  const at::Tensor turned = modulations.flip(0);
  const at::Tensor latents = golden.in("latents");
  EXPECT_FALSE(
      unet.forward(latents, context, turned)[0].equal(unet.forward(latents, context, modulations)[0]));
  EXPECT_TRUE(
      unet.forward(latents, context, turned)[1].equal(unet.forward(latents, context, modulations)[1]));
}

TEST(Unet2DCondition, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("unet_sd1");
  auto config = Unet2DConditionConfig::from_json(golden.config()).value();
  config.levels[0].layers = 2;
  config.levels[0].depths = {1, 1};
  EXPECT_THAT(test::load_error([&] { Unet2DCondition(config, golden.scope()); }),
              HasSubstr("down_blocks.0.resnets.1.norm1.weight"));
  config.levels[0].layers = 1;
  config.cross_attention_dim = 33;
  EXPECT_THAT(test::load_error([&] { Unet2DCondition(config, golden.scope()); }),
              HasSubstr("attn2.to_k.weight"));
}

TEST(Unet2DConditionConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = Unet2DConditionConfig::from_json({}).value();
  ASSERT_EQ(config.levels.size(), 4u);
  EXPECT_EQ(config.levels[0].channels, 320);
  EXPECT_EQ(config.levels[3].channels, 1280);
  EXPECT_THAT(config.levels[2].depths, ElementsAre(1, 1));
  EXPECT_THAT(config.levels[2].up_depths, ElementsAre(1, 1, 1));
  EXPECT_THAT(config.levels[3].depths, IsEmpty());
  EXPECT_THAT(config.levels[3].up_depths, IsEmpty());
  EXPECT_EQ(config.levels[1].heads, 8);
  EXPECT_EQ(config.levels[1].layers, 2);
  EXPECT_EQ(config.cross_attention_dim, 1280);
  EXPECT_TRUE(config.mid_block);
  EXPECT_FALSE(config.text_time);
  EXPECT_EQ(config.time_embed_dim(), 1280);
}

// segmind/SSD-1B.
TEST(Unet2DConditionConfig, ReadsDepthsByLayer) {
  const auto config = Unet2DConditionConfig::from_json(boost::json::parse(R"({
    "block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "mid_block_type": "UNetMidBlock2D",
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [0, [2, 2], [4, 4]],
    "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1]})")
                                                           .as_object())
                          .value();
  EXPECT_THAT(config.levels[0].depths, IsEmpty());
  EXPECT_THAT(config.levels[1].depths, ElementsAre(2, 2));
  EXPECT_THAT(config.levels[2].depths, ElementsAre(4, 4));
  EXPECT_THAT(config.levels[0].up_depths, IsEmpty());
  EXPECT_THAT(config.levels[1].up_depths, ElementsAre(2, 1, 1));
  EXPECT_THAT(config.levels[2].up_depths, ElementsAre(4, 4, 10));
  EXPECT_TRUE(config.mid_block);
  EXPECT_EQ(config.mid_depth, 0);
}

TEST(Unet2DConditionConfig, RefusesWhatNoNetworkCanHaveAndWhatIsNotHere) {
  const auto error = [](const char* json) {
    return Unet2DConditionConfig::from_json(boost::json::parse(json).as_object()).error();
  };
  EXPECT_EQ(error(R"({"block_out_channels": []})").field, "block_out_channels");
  EXPECT_EQ(error(R"({"block_out_channels": [320, 640]})").field, "down_block_types");
  EXPECT_EQ(error(R"({"attention_head_dim": 7})").field, "attention_head_dim");
  EXPECT_EQ(error(R"({"attention_head_dim": [5, 10]})").field, "attention_head_dim");
  EXPECT_EQ(error(R"({"norm_num_groups": 33})").field, "norm_num_groups");
  EXPECT_EQ(error(R"({"cross_attention_dim": [1, 2, 3, 4]})").field, "cross_attention_dim");
  EXPECT_EQ(error(R"({"addition_embed_type": "text_time"})").field, "addition_time_embed_dim");
  EXPECT_EQ(error(R"({"layers_per_block": 2000000000})").field, "layers_per_block");
  const char* const kDepths = "transformer_layers_per_block";
  for (const char* json :
       {R"({"transformer_layers_per_block": 0})", R"({"transformer_layers_per_block": [1, 1, 0, 1]})",
        R"({"transformer_layers_per_block": [1, 1, 1, 0]})",
        R"({"transformer_layers_per_block": [1, [1, 1], 1]})",
        R"({"transformer_layers_per_block": [1, [1], 1, 1]})",
        R"({"transformer_layers_per_block": [1, [1, "1"], 1, 1]})",
        R"({"transformer_layers_per_block": [1, [1, 1], "1", 1]})"})
    EXPECT_EQ(error(json).field, kDepths) << json;
  const std::string up = std::string("reverse_") + kDepths;
  for (const char* json : {R"({"transformer_layers_per_block": [1, [1, 1], 1, 1]})",
                           R"({"reverse_transformer_layers_per_block": [1, [2, 2], 1, 1]})",
                           R"({"reverse_transformer_layers_per_block": [1, 1]})"})
    EXPECT_EQ(error(json).field, up) << json;
  const char* const kUnsupported[] = {
      R"({"down_block_types": ["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]})",
      R"({"up_block_types": ["UpBlock2D", "UpBlock2D", "UpBlock2D", "SimpleCrossAttnUpBlock2D"]})",
      R"({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"})",
      R"({"addition_embed_type": "text_image"})",
      R"({"act_fn": "gelu"})",
      R"({"class_embed_type": "timestep"})",
      R"({"only_cross_attention": true})",
      R"({"resnet_time_scale_shift": "scale_shift"})",
      R"({"conv_in_kernel": 1})"};
  for (const char* json : kUnsupported) EXPECT_EQ(error(json).code, ErrorCode::unsupported) << json;
  EXPECT_THAT(error(kUnsupported[0]).message, HasSubstr("AttnDownBlock2D"));
}

TEST(Unet2DConditionConfig, CountsTheWorkOfThePublishedNetworks) {
  const auto flops = [](const char* json, std::int64_t side) {
    return Unet2DConditionConfig::from_json(boost::json::parse(json).as_object())->flops(side, side, 77) /
           1e12;
  };
  // Counted by torch on the networks themselves.
  EXPECT_NEAR(flops(R"({"cross_attention_dim": 768})", 64), 0.803, 0.016);
  const char* const xl = R"({
    "block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
    "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]})";
  EXPECT_NEAR(flops(xl, 64), 1.589, 0.06);  // without the text's keys and values, which are computed once
  EXPECT_NEAR(flops(xl, 128), 6.761, 0.14);
}

}  // namespace
}  // namespace diffused::models
