#include "models/autoencoder_kl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

AutoencoderKl load_vae(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return AutoencoderKl(AutoencoderKlConfig::from_json(golden.config()).value(), golden.scope(dtype));
}

class AutoencoderKlGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(AutoencoderKlGolden, DecodesAndEncodesAsDiffusersDoes) {
  const Golden golden(GetParam());
  const AutoencoderKl vae = load_vae(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  EXPECT_LE(relative_error(vae.decode(golden.in("latents")), golden.out("image")), kGoldenTolerance);
  const LatentDistribution distribution = vae.encode(golden.in("image"));
  EXPECT_LE(relative_error(distribution.mean, golden.out("mean")), kGoldenTolerance);
  EXPECT_LE(relative_error(distribution.logvar, golden.out("logvar")), kGoldenTolerance);
}

// vae_sd3: four levels; vae_sd1: quant convolutions, old attention names, two layers a block; one level; five
// levels without mid attention.
INSTANTIATE_TEST_SUITE_P(Cases, AutoencoderKlGolden,
                         ::testing::Values("vae_sd3", "vae_sd1", "vae_one_level", "vae_without_attention"));

TEST(AutoencoderKl, GivesAnImageTheSameBitsInAnyBatch) {
  const Golden golden("vae_sd3");
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const AutoencoderKl vae = load_vae(golden, dtype);
    const at::Tensor latents = golden.in("latents").to(dtype), image = golden.in("image").to(dtype);
    const at::Tensor decoded = vae.decode(latents), encoded = vae.encode(image).mean;
    for (int row = 0; row < 2; ++row) {
      EXPECT_TRUE(vae.decode(latents.narrow(0, row, 1)).equal(decoded.narrow(0, row, 1)));
      EXPECT_TRUE(vae.encode(image.narrow(0, row, 1)).mean.equal(encoded.narrow(0, row, 1)));
    }
  }
}

TEST(AutoencoderKl, DecodesTheSameInPieces) {
  for (const char* name : {"vae_sd1", "vae_without_attention"}) {
    const Golden golden(name);
    const AutoencoderKl vae = load_vae(golden);
    const at::Tensor latents = golden.in("latents").narrow(0, 0, 1);
    EXPECT_EQ(vae.config().decode_flops(latents.size(2), latents.size(3)).size(), vae.decode_stages());
    at::Tensor x = latents;
    for (std::size_t stage = 0; stage < vae.decode_stages(); ++stage) x = vae.decode_stage(stage, x);
    EXPECT_TRUE(x.equal(vae.decode(latents)));
  }
}

TEST(AutoencoderKl, ClampsTheLogOfTheVariance) {
  const Golden golden("vae_one_level");
  auto tensors = golden.weights();
  for (auto& [name, tensor] : tensors) {
    if (name == "encoder.conv_out.bias") tensor = tensor + 100;
  }
  auto config = AutoencoderKlConfig::from_json(golden.config()).value();
  const test::WrittenWeights weights(tensors);
  EXPECT_EQ(AutoencoderKl(config, weights.scope()).encode(golden.in("image")).logvar.max().item<float>(), 20);
}

TEST(AutoencoderKl, IsCloseInBfloat16) {
  const Golden golden("vae_sd3");
  const AutoencoderKl vae = load_vae(golden, at::kBFloat16);
  const at::Tensor image = vae.decode(golden.in("latents").to(at::kBFloat16));
  EXPECT_EQ(image.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(image, golden.out("image")), 0.06);
}

TEST(AutoencoderKl, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("vae_sd3");
  auto config = AutoencoderKlConfig::from_json(golden.config()).value();
  config.use_quant_conv = true;
  EXPECT_THAT(test::load_error([&] { AutoencoderKl(config, golden.scope()); }),
              HasSubstr("quant_conv.weight"));
  config.use_quant_conv = false;
  config.latent_channels = 8;
  EXPECT_THAT(test::load_error([&] { AutoencoderKl(config, golden.scope()); }),
              HasSubstr("encoder.conv_out.weight"));
}

TEST(AutoencoderKlConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = AutoencoderKlConfig::from_json({{"norm_num_groups", 32}}).value();
  EXPECT_EQ(config.block_out_channels, std::vector<std::int64_t>{64});
  EXPECT_EQ(config.pixels_per_latent(), 1);
  EXPECT_DOUBLE_EQ(config.scaling_factor, 0.18215);
  EXPECT_FALSE(config.shift_factor.has_value());
  EXPECT_TRUE(config.use_quant_conv && config.use_post_quant_conv && config.mid_block_add_attention);
}

TEST(AutoencoderKlConfig, RefusesWhatNoNetworkCanHave) {
  const auto error = [](const char* json) {
    return AutoencoderKlConfig::from_json(boost::json::parse(json).as_object()).error();
  };
  EXPECT_EQ(error(R"({"block_out_channels": []})").field, "block_out_channels");
  EXPECT_EQ(error(R"({"block_out_channels": [64, 0]})").field, "block_out_channels");
  EXPECT_EQ(error(R"({"block_out_channels": 64})").field, "block_out_channels");
  EXPECT_EQ(error(R"({"norm_num_groups": 24})").field, "norm_num_groups");
  EXPECT_EQ(error(R"({"shift_factor": "0"})").field, "shift_factor");
  EXPECT_EQ(error(R"({"scaling_factor": 0})").field, "scaling_factor");
  EXPECT_EQ(error(R"({"use_quant_conv": 1})").field, "use_quant_conv");
  EXPECT_EQ(error(R"({"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"]})").field,
            "down_block_types");
  EXPECT_EQ(error(R"({"up_block_types": ["AttnUpDecoderBlock2D"]})").code, ErrorCode::unsupported);
  EXPECT_EQ(error(R"({"act_fn": "relu"})").code, ErrorCode::unsupported);
  EXPECT_EQ(error(R"({"latents_mean": [0.5, 0.5], "latents_std": [1, 1, 1, 1]})").field, "latents_mean");
  EXPECT_EQ(error(R"({"latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 0, 1]})").field, "latents_std");
  EXPECT_EQ(error(R"({"latents_std": "1"})").field, "latents_std");
}

TEST(AutoencoderKlConfig, HasMeansAndDeviationsOfChannelsTogetherOrNotAtAll) {
  const auto config = [](const char* json) {
    return AutoencoderKlConfig::from_json(boost::json::parse(json).as_object()).value();
  };
  EXPECT_THAT(config(R"({"latents_mean": [1, 2, 3, 4], "latents_std": [5, 6, 7, 8]})").latents_std,
              testing::ElementsAre(5, 6, 7, 8));
  EXPECT_TRUE(config(R"({"latents_mean": [1, 2, 3, 4]})").latents_mean.empty());
  EXPECT_TRUE(config(R"({"latents_std": null, "latents_mean": null})").latents_std.empty());
}

TEST(AutoencoderKlConfig, CountsTheWorkOfThePublishedDecoder) {
  const AutoencoderKlConfig sd3{
      .block_out_channels = {128, 256, 512, 512}, .layers_per_block = 2, .latent_channels = 16};
  const auto teraflops = [&](std::int64_t side) {
    const auto stages = sd3.decode_flops(side, side);
    return std::accumulate(stages.begin(), stages.end(), 0.0) / 1e12;
  };
  EXPECT_NEAR(teraflops(64), 2.515, 0.03);
  EXPECT_NEAR(teraflops(128), 10.47, 0.1);
  EXPECT_LT(std::ranges::max(sd3.decode_flops(128, 128)) / 1e12, 1.3);
}

}  // namespace
}  // namespace diffused::models
