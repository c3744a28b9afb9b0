#include "models/z_image_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <functional>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ZImageTransformerConfig z_image_config(const Golden& golden) {
  return ZImageTransformerConfig::from_json(golden.config()).value();
}

ZImageTransformer load_z_image(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return ZImageTransformer(z_image_config(golden), golden.scope(dtype));
}

class ZImageGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(ZImageGolden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const ZImageTransformer z_image = load_z_image(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  const at::Tensor context = z_image.embed_context(golden.in("text"));
  const at::Tensor modulations = z_image.modulations(golden.in("timesteps"));
  EXPECT_LE(relative_error(context, golden.out("context")), kGoldenTolerance);
  // The timestep is told as waves of up to a thousand radians, where the last bit of their frequency, an
  // exponential that processors round otherwise, is 1e-4.
  constexpr double kTolerance = 1e-4;
  EXPECT_LE(relative_error(modulations, golden.out("modulations")), kTolerance);
  const at::Tensor velocity = z_image.forward(golden.in("latents"), context, modulations);
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), kTolerance);
}

TEST_P(ZImageGolden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  const ZImageTransformer z_image = load_z_image(golden, at::kBFloat16);
  const at::Tensor velocity = z_image.forward(golden.in("latents").to(at::kBFloat16),
                                              z_image.embed_context(golden.in("text").to(at::kBFloat16)),
                                              z_image.modulations(golden.in("timesteps")));
  EXPECT_EQ(velocity.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(velocity, golden.out("velocity")), 0.1);
}

// Streams with pads and without; a head of 32; far positions.
INSTANTIATE_TEST_SUITE_P(Cases, ZImageGolden, ::testing::Values("z_image", "z_image_whole", "z_image_far"));

TEST(ZImageTransformer, SeesItsPads) {
  const Golden golden("z_image");
  auto tensors = golden.weights();
  for (auto& [name, tensor] : tensors) {
    if (name == "x_pad_token") tensor = tensor + 1;
  }
  const test::WrittenWeights weights(tensors);
  const ZImageTransformer z_image(z_image_config(golden), weights.scope());
  const at::Tensor velocity = z_image.forward(golden.in("latents"), z_image.embed_context(golden.in("text")),
                                              z_image.modulations(golden.in("timesteps")));
  EXPECT_GT(relative_error(velocity, golden.out("velocity")), 0.01);
}

TEST(ZImageTransformer, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("z_image");
  const auto error = [&](const std::function<void(ZImageTransformerConfig&)>& change) {
    auto config = z_image_config(golden);
    change(config);
    return test::load_error([&] { ZImageTransformer(config, golden.scope()); });
  };
  EXPECT_THAT(error([](auto& c) { c.n_layers = 3; }), HasSubstr("layers.2.attention_norm1.weight"));
  EXPECT_THAT(error([](auto& c) { c.cap_feat_dim = 31; }), HasSubstr("cap_embedder.0.weight"));
  EXPECT_THAT(error([](auto& c) { c.in_channels = 4; }), HasSubstr("all_x_embedder.2-1.weight"));
}

TEST(ZImageTransformerConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = ZImageTransformerConfig::from_json({}).value();
  EXPECT_EQ(config.dim, 3840);
  EXPECT_EQ(config.head_dim(), 128);
  EXPECT_EQ(config.text_tokens_max(), 992);
  EXPECT_EQ(config.padded(1), 32);
  EXPECT_EQ(config.padded(32), 32);
  // Six billion parameters at 4096 + 64 tokens.
  EXPECT_NEAR(config.flops(4096, 64), 55.6e12, 1e12);
}

TEST(ZImageTransformerConfig, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* json) {
    return ZImageTransformerConfig::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"all_patch_size": [1]})"), "all_patch_size");
  EXPECT_EQ(field(R"({"all_f_patch_size": [2]})"), "all_f_patch_size");
  EXPECT_EQ(field(R"({"qk_norm": false})"), "qk_norm");
  EXPECT_EQ(field(R"({"siglip_feat_dim": 1152})"), "siglip_feat_dim");
  EXPECT_EQ(field(R"({"axes_dims": [32, 48, 47]})"), "axes_dims");
  EXPECT_EQ(field(R"({"axes_dims": [32, 48]})"), "axes_dims");
  EXPECT_EQ(field(R"({"axes_lens": [33, 8, 8]})"), "axes_lens");
  EXPECT_EQ(field(R"({"n_heads": 7})"), "axes_dims");
  EXPECT_EQ(field(R"({"rope_theta": 0})"), "rope_theta");
}

}  // namespace
}  // namespace diffused::models
