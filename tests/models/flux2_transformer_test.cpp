#include "models/flux2_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <functional>

#include "support/golden.h"
#include "support/token_grids.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::grids_of;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Flux2TransformerConfig flux2_config(const Golden& golden) {
  return Flux2TransformerConfig::from_json(golden.config()).value();
}

Flux2Transformer load_flux2(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return Flux2Transformer(flux2_config(golden), golden.scope(dtype));
}

at::Tensor flux2_modulations(const Golden& golden, const Flux2Transformer& flux2) {
  return flux2.modulations(golden.in("timesteps"),
                           flux2.config().guidance_embeds ? golden.in("guidance") : at::Tensor());
}

class Flux2Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Flux2Golden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const Flux2Transformer flux2 = load_flux2(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  const at::Tensor context = flux2.embed_context(golden.in("text"));
  const at::Tensor modulations = flux2_modulations(golden, flux2);
  EXPECT_LE(relative_error(context, golden.out("context")), kGoldenTolerance);
  // As flux_transformer_test.cpp says of a guidance scale.
  const double tolerance = flux2.config().guidance_embeds ? 2e-4 : 2e-5;
  EXPECT_LE(relative_error(modulations, golden.out("modulations")), tolerance);
  const at::Tensor velocity = flux2.forward(golden.in("image"), grids_of(golden), context, modulations);
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), tolerance);
}

TEST_P(Flux2Golden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  // Timesteps and guidance that bfloat16 holds, and a thousand of each too: the waves they become are short.
  const auto velocity = [&](at::ScalarType dtype) {
    const Flux2Transformer flux2 = load_flux2(golden, dtype);
    const at::Tensor guidance =
        flux2.config().guidance_embeds ? at::tensor({4.0, 0.0, 32.0}).to(dtype) : at::Tensor();
    return flux2.forward(golden.in("image").to(dtype), grids_of(golden),
                         flux2.embed_context(golden.in("text").to(dtype)),
                         flux2.modulations(at::tensor({1.0, 0.5, 0.0078125}).to(dtype), guidance));
  };
  EXPECT_EQ(velocity(at::kBFloat16).scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(velocity(at::kBFloat16), velocity(at::kFloat)), 0.1);
}

// Both kinds of blocks; references and blocks of one stream alone; a guidance scale.
INSTANTIATE_TEST_SUITE_P(Cases, Flux2Golden,
                         ::testing::Values("flux2_klein", "flux2_references", "flux2_dev"));

TEST(Flux2Transformer, KnowsWhichPictureATokenIsOf) {
  const Golden golden("flux2_references");
  const Flux2Transformer flux2 = load_flux2(golden);
  auto grids = grids_of(golden);
  std::swap(grids[1].picture, grids[2].picture);
  const at::Tensor velocity = flux2.forward(golden.in("image"), grids, flux2.embed_context(golden.in("text")),
                                            flux2_modulations(golden, flux2));
  EXPECT_GT(relative_error(velocity, golden.out("velocity")), 0.01);
}

TEST(Flux2Transformer, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("flux2_klein");
  const auto error = [&](const std::function<void(Flux2TransformerConfig&)>& change) {
    auto config = flux2_config(golden);
    change(config);
    return test::load_error([&] { Flux2Transformer(config, golden.scope()); });
  };
  EXPECT_THAT(error([](auto& c) { c.num_layers = 2; }), HasSubstr("transformer_blocks.1."));
  EXPECT_THAT(error([](auto& c) { c.num_single_layers = 3; }), HasSubstr("single_transformer_blocks.2."));
  EXPECT_THAT(error([](auto& c) { c.guidance_embeds = true; }), HasSubstr("guidance_embedder.linear_1"));
  EXPECT_THAT(error([](auto& c) { c.mlp_ratio = 4; }), HasSubstr("ff.linear_in.weight"));
}

TEST(Flux2TransformerConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = Flux2TransformerConfig::from_json({}).value();
  EXPECT_EQ(config.inner_dim(), 6144);
  EXPECT_EQ(config.hidden_dim(), 18432);
  EXPECT_EQ(config.joint_attention_dim, 15360);
  EXPECT_TRUE(config.guidance_embeds);
}

TEST(Flux2TransformerConfig, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* json) {
    return Flux2TransformerConfig::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"patch_size": 2})"), "patch_size");
  EXPECT_EQ(field(R"({"axes_dims_rope": [32, 32, 32]})"), "axes_dims_rope");
  EXPECT_EQ(field(R"({"axes_dims_rope": [32, 32, 32, 31]})"), "axes_dims_rope");
  EXPECT_EQ(field(R"({"num_single_layers": 0})"), "num_single_layers");
  EXPECT_EQ(field(R"({"mlp_ratio": 0})"), "mlp_ratio");
  EXPECT_EQ(field(R"({"timestep_guidance_channels": 255})"), "timestep_guidance_channels");
}

}  // namespace
}  // namespace diffused::models
