#include "models/flux_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "support/golden.h"
#include "support/token_grids.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

FluxTransformerConfig config_of(const Golden& golden) {
  return FluxTransformerConfig::from_json(golden.config()).value();
}

FluxTransformer load_flux(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return FluxTransformer(config_of(golden), golden.scope(dtype));
}

FluxConditions conditions(const Golden& golden, bool guidance) {
  return {.timesteps = golden.in("timesteps"),
          .guidance = guidance ? golden.in("guidance") : at::Tensor(),
          .pooled = golden.in("pooled")};
}

TokenGrid grid_of(const Golden& golden) {
  const at::Tensor grid = golden.in("grid").to(at::kLong);
  return {.rows = grid[0].item<std::int64_t>(), .columns = grid[1].item<std::int64_t>()};
}

class FluxTransformerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(FluxTransformerGolden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const FluxTransformer flux = load_flux(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  const at::Tensor context = flux.embed_context(golden.in("text"));
  const at::Tensor modulations = flux.modulations(conditions(golden, flux.config().guidance_embeds));
  EXPECT_LE(relative_error(context, golden.out("context")), kGoldenTolerance);
  // The guidance scale is told as waves of up to thousands of radians, where the last bit of their frequency,
  // an exponential that processors round otherwise, is 2e-4.
  const double tolerance = flux.config().guidance_embeds ? 2e-4 : kGoldenTolerance;
  EXPECT_LE(relative_error(modulations, golden.out("modulations")), tolerance);
  const at::Tensor velocity = flux.forward(golden.in("image"), {grid_of(golden)}, context, modulations);
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), tolerance);
}

TEST_P(FluxTransformerGolden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  const bool guidance = config_of(golden).guidance_embeds;
  // Timesteps and guidance that bfloat16 holds, and a thousand of each too: the waves they become are short.
  const auto velocity = [&](at::ScalarType dtype) {
    const FluxTransformer flux = load_flux(golden, dtype);
    const FluxConditions told{.timesteps = at::tensor({1.0, 0.5, 0.0078125}).to(dtype),
                              .guidance = guidance ? at::tensor({4.0, 0.0, 32.0}).to(dtype) : at::Tensor(),
                              .pooled = golden.in("pooled").to(dtype)};
    return flux.forward(golden.in("image").to(dtype), {grid_of(golden)},
                        flux.embed_context(golden.in("text").to(dtype)), flux.modulations(told));
  };
  EXPECT_EQ(velocity(at::kBFloat16).scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(velocity(at::kBFloat16), velocity(at::kFloat)), 0.06);
}

// Both kinds of blocks; one head of 32 and a guidance scale; blocks of one kind alone, with an axis of size
// zero and with channels that differ between in and out.
INSTANTIATE_TEST_SUITE_P(Cases, FluxTransformerGolden,
                         ::testing::Values("flux_schnell", "flux_dev", "flux_double_only",
                                           "flux_single_only"));

TEST(FluxTransformer, GoesByPicturesBehindTheOneItMakes) {
  const Golden golden("flux_references");
  const FluxTransformer flux = load_flux(golden);
  const at::Tensor velocity =
      flux.forward(golden.in("image"), test::grids_of(golden), flux.embed_context(golden.in("text")),
                   flux.modulations(conditions(golden, false)));
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), kGoldenTolerance);
}

TEST(FluxTransformer, KnowsWhereATokenLies) {
  const Golden golden("flux_schnell");
  const FluxTransformer flux = load_flux(golden);
  const at::Tensor context = flux.embed_context(golden.in("text"));
  const at::Tensor modulations = flux.modulations(conditions(golden, false));
  const auto forward = [&](const at::Tensor& image, const TokenGrid& grid) {
    return flux.forward(image, {grid}, context, modulations);
  };
  const at::Tensor image = golden.in("image");
  EXPECT_GT(relative_error(forward(image, {6, 4}), golden.out("velocity")), 0.01);
  // The same tokens the other way up: each has other places around it.
  const at::Tensor flipped = image.view({3, 4, 6, -1}).flip(1).flatten(1, 2);
  EXPECT_GT(relative_error(forward(flipped, {4, 6}).view({3, 4, 6, -1}).flip(1).flatten(1, 2),
                           golden.out("velocity")),
            0.01);
}

TEST(FluxTransformer, IsToldTheGuidanceScale) {
  const Golden golden("flux_dev");
  const FluxTransformer flux = load_flux(golden);
  FluxConditions told = conditions(golden, true);
  const at::Tensor before = flux.modulations(told);
  told.guidance = told.guidance + 1;
  EXPECT_GT(relative_error(flux.modulations(told), before), 0.01);
}

TEST(FluxTransformer, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("flux_schnell");
  const auto error = [&](const std::function<void(FluxTransformerConfig&)>& change) {
    FluxTransformerConfig config = config_of(golden);
    change(config);
    return test::load_error([&] { FluxTransformer(config, golden.scope()); });
  };
  EXPECT_EQ(error([](auto&) {}), "no error");
  EXPECT_THAT(error([](auto& c) { c.guidance_embeds = true; }),
              HasSubstr("time_text_embed.guidance_embedder.linear_1.weight"));
  EXPECT_THAT(error([](auto& c) { c.num_layers = 3; }),
              HasSubstr("transformer_blocks.2.norm1.linear.weight"));
  EXPECT_THAT(error([](auto& c) { c.num_single_layers = 3; }),
              HasSubstr("single_transformer_blocks.2.proj_out.weight"));
  EXPECT_THAT(error([](auto& c) { c.in_channels = 60; }), HasSubstr("x_embedder.weight"));
  EXPECT_THAT(error([](auto& c) { c.joint_attention_dim = 41; }), HasSubstr("context_embedder.weight"));
}

TEST(FluxTransformerDeathTest, ChecksThatTheTokensFillTheGrid) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Golden golden("flux_schnell");
  const FluxTransformer flux = load_flux(golden);
  const at::Tensor context = flux.embed_context(golden.in("text"));
  const at::Tensor modulations = flux.modulations(conditions(golden, false));
  EXPECT_DEATH(flux.forward(golden.in("image"), {{5, 5}}, context, modulations), "24 tokens on grids of 25");
}

TEST(FluxTransformerConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = FluxTransformerConfig::from_json({}).value();
  EXPECT_EQ(config.inner_dim(), 3072);
  EXPECT_EQ(config.num_layers, 19);
  EXPECT_EQ(config.num_single_layers, 38);
  EXPECT_EQ(config.out_channels, 64);
  EXPECT_FALSE(config.guidance_embeds);
  EXPECT_THAT(config.axes_dims_rope, ElementsAre(16, 56, 56));
}

TEST(FluxTransformerConfig, TakesTheInputChannelsWithoutOutputChannels) {
  EXPECT_EQ(FluxTransformerConfig::from_json({{"in_channels", 384}})->out_channels, 384);
  EXPECT_EQ(FluxTransformerConfig::from_json({{"in_channels", 384}, {"out_channels", nullptr}})->out_channels,
            384);
  EXPECT_EQ(FluxTransformerConfig::from_json({{"in_channels", 384}, {"out_channels", 64}})->out_channels, 64);
}

TEST(FluxTransformerConfig, RefusesWhatNoNetworkCanHave) {
  const auto error = [](const char* json) {
    return FluxTransformerConfig::from_json(boost::json::parse(json).as_object()).error();
  };
  EXPECT_EQ(error(R"({"num_attention_heads": 0})").field, "num_attention_heads");
  EXPECT_EQ(error(R"({"num_layers": -1})").field, "num_layers");
  EXPECT_EQ(error(R"({"guidance_embeds": "yes"})").field, "guidance_embeds");
  EXPECT_EQ(error(R"({"axes_dims_rope": [16, 56, 50]})").field, "axes_dims_rope");
  EXPECT_EQ(error(R"({"axes_dims_rope": [64, 64]})").field, "axes_dims_rope");
  EXPECT_EQ(error(R"({"axes_dims_rope": [15, 57, 56]})").field, "axes_dims_rope");
  EXPECT_EQ(error(R"({"attention_head_dim": 64})").field, "axes_dims_rope");
  EXPECT_EQ(error(R"({"patch_size": 2})").code, ErrorCode::unsupported);
}

TEST(FluxTransformerConfig, CountsTheWorkOfThePublishedModels) {
  const FluxTransformerConfig config;
  EXPECT_NEAR(config.flops(1024, 512) / 1e12, 21.5, 0.1);
  EXPECT_NEAR(config.flops(4096, 512) / 1e12, 74.4, 0.3);
}

}  // namespace
}  // namespace diffused::models
