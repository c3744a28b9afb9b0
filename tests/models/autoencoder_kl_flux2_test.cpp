#include "models/autoencoder_kl_flux2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::IsEmpty;

TEST(AutoencoderKlFlux2, EqualsDiffusersBothWays) {
  const Golden golden("vae_flux2");
  const AutoencoderKlFlux2 vae(AutoencoderKlFlux2Config::from_json(golden.config()).value(), golden.scope());
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  EXPECT_EQ(vae.format().channels, 16);
  EXPECT_EQ(vae.format().pixels_per_latent, 8);
  EXPECT_LE(relative_error(vae.scaled(vae.encode(golden.in("image")).mean, true), golden.out("scaled")),
            kGoldenTolerance);
  for (std::int64_t row = 0; row < 2; ++row) {
    at::Tensor x = vae.unscaled(golden.in("latents").narrow(0, row, 1));
    for (std::size_t stage = 0; stage < vae.decode_flops(3, 5).size(); ++stage)
      x = vae.decode_stage(stage, x);
    EXPECT_LE(relative_error(x, golden.out("image").narrow(0, row, 1)), kGoldenTolerance);
  }
}

TEST(AutoencoderKlFlux2, ScalesThereAndBack) {
  const Golden golden("vae_flux2");
  const AutoencoderKlFlux2 vae(AutoencoderKlFlux2Config::from_json(golden.config()).value(), golden.scope());
  const at::Tensor latents = golden.in("latents");
  EXPECT_LE(relative_error(vae.scaled(vae.unscaled(latents), true), latents), kGoldenTolerance);
}

TEST(AutoencoderKlFlux2Config, TakesTheDefaultsOfDiffusers) {
  const auto config = AutoencoderKlFlux2Config::from_json({}).value();
  EXPECT_EQ(config.format().channels, 128);
  EXPECT_EQ(config.format().pixels_per_latent, 16);
  EXPECT_EQ(config.inner.layers_per_block, 2);
  EXPECT_EQ(config.inner.decoder_channels(), config.inner.block_out_channels);
}

TEST(AutoencoderKlFlux2Config, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* json) {
    return AutoencoderKlFlux2Config::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"patch_size": [1, 1]})"), "patch_size");
  EXPECT_EQ(field(R"({"decoder_block_out_channels": [32, 32]})"), "decoder_block_out_channels");
  EXPECT_EQ(field(R"({"batch_norm_eps": "small"})"), "batch_norm_eps");
}

}  // namespace
}  // namespace diffused::models
