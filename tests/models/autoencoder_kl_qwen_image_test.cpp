#include "models/autoencoder_kl_qwen_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/golden.h"

namespace diffused::models {
namespace {

namespace json = boost::json;
using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;

AutoencoderKlQwenImage load_qwen_image_vae(const Golden& golden) {
  return {AutoencoderKlQwenImageConfig::from_json(golden.config()).value(), golden.scope()};
}

TEST(AutoencoderKlQwenImage, EqualsDiffusersBothWays) {
  const Golden golden("vae_qwen_image");
  const AutoencoderKlQwenImage vae = load_qwen_image_vae(golden);
  EXPECT_THAT(golden.unused_weights(), ::testing::IsEmpty());
  EXPECT_EQ(vae.format().channels, 4);
  EXPECT_EQ(vae.format().pixels_per_latent, 4);
  const LatentDistribution encoded = vae.encode(golden.in("image"));
  EXPECT_LE(relative_error(encoded.mean, golden.out("mean")), kGoldenTolerance);
  EXPECT_LE(relative_error(encoded.logvar, golden.out("logvar")), kGoldenTolerance);
  EXPECT_LE(relative_error(vae.scaled(encoded.mean, false), golden.out("scaled")), kGoldenTolerance);
  for (std::int64_t row = 0; row < 2; ++row) {
    at::Tensor x = vae.unscaled(golden.in("latents").narrow(0, row, 1));
    for (std::size_t stage = 0; stage < vae.decode_flops(5, 3).size(); ++stage)
      x = vae.decode_stage(stage, x);
    EXPECT_LE(relative_error(x.clamp(-1, 1), golden.out("image").narrow(0, row, 1)), kGoldenTolerance);
  }
}

TEST(AutoencoderKlQwenImage, TakesAPixelOfNothingForNothing) {
  const Golden golden("vae_qwen_image");
  const at::Tensor mean = load_qwen_image_vae(golden).encode(at::zeros({1, 3, 8, 8})).mean;
  EXPECT_TRUE(mean.isfinite().all().item<bool>());
}

TEST(AutoencoderKlQwenImageConfig, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* key, const json::value& value) {
    json::object config = Golden("vae_qwen_image").config();
    config[key] = value;
    return AutoencoderKlQwenImageConfig::from_json(config).error().field;
  };
  EXPECT_EQ(field("latents_mean", json::array{1, 2}), "latents_mean");
  EXPECT_EQ(field("latents_std", json::array{1, 2, 0, 4}), "latents_std");
  EXPECT_EQ(field("latents_std", nullptr), "latents_std");
  EXPECT_EQ(field("attn_scales", json::array{0.5}), "attn_scales");
  EXPECT_EQ(field("dim_mult", json::array{}), "dim_mult");
  EXPECT_EQ(field("base_dim", 3), "base_dim");
  EXPECT_EQ(field("temperal_downsample", json::array{true}), "temperal_downsample");
}

}  // namespace
}  // namespace diffused::models
