#include "models/qwen_image_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "support/golden.h"
#include "support/token_grids.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::grids_of;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;

QwenImageTransformer load_qwen_image(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return {QwenImageTransformerConfig::from_json(golden.config()).value(), golden.scope(dtype)};
}

class QwenImageGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(QwenImageGolden, EqualsDiffusersAtEveryStage) {
  const Golden golden(GetParam());
  const QwenImageTransformer network = load_qwen_image(golden);
  EXPECT_THAT(golden.unused_weights(), ::testing::IsEmpty());
  const at::Tensor context = network.embed_context(golden.in("text"));
  EXPECT_LE(relative_error(context, golden.out("context")), kGoldenTolerance);
  const at::Tensor modulations = network.modulations(golden.in("timesteps"));
  // As z_image_transformer_test.cpp says of timesteps.
  constexpr double kTolerance = 1e-4;
  EXPECT_LE(relative_error(modulations, golden.out("modulations")), kTolerance);
  EXPECT_LE(relative_error(network.forward(golden.in("image"), grids_of(golden), context, modulations),
                           golden.out("velocity")),
            kTolerance);
}

TEST_P(QwenImageGolden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  const auto velocity = [&](at::ScalarType dtype) {
    const QwenImageTransformer network = load_qwen_image(golden, dtype);
    // Timesteps that bfloat16 holds: the waves they become are short.
    return network.forward(golden.in("image").to(dtype), grids_of(golden),
                           network.embed_context(golden.in("text").to(dtype)),
                           network.modulations(at::tensor({1.0, 0.5, 0.0078125}).to(dtype)));
  };
  EXPECT_EQ(velocity(at::kBFloat16).scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(velocity(at::kBFloat16), velocity(at::kFloat)), 0.1);
}

// Odd sides; pictures to go by; far positions.
INSTANTIATE_TEST_SUITE_P(Cases, QwenImageGolden,
                         ::testing::Values("qwen_image", "qwen_image_references", "qwen_image_far"));

TEST(QwenImageTransformer, TellsPicturesToGoByAnotherTime) {
  const Golden golden("qwen_image_references");
  auto config = QwenImageTransformerConfig::from_json(golden.config()).value();
  config.zero_cond_t = false;
  const QwenImageTransformer network(config, golden.scope());
  const at::Tensor velocity =
      network.forward(golden.in("image"), grids_of(golden), network.embed_context(golden.in("text")),
                      network.modulations(golden.in("timesteps")));
  EXPECT_GT(relative_error(velocity, golden.out("velocity")), 0.01);
}

TEST(QwenImageTransformer, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("qwen_image");
  const auto error = [&](const auto& change) {
    auto config = QwenImageTransformerConfig::from_json(golden.config()).value();
    change(config);
    return test::load_error([&] { QwenImageTransformer(config, golden.scope()); });
  };
  EXPECT_THAT(error([](auto& c) { c.num_layers = 3; }), HasSubstr("transformer_blocks.2."));
  EXPECT_THAT(error([](auto& c) { c.out_channels = 5; }), HasSubstr("proj_out"));
  EXPECT_THAT(error([](auto& c) { c.joint_attention_dim = 31; }), HasSubstr("txt_norm"));
}

TEST(QwenImageTransformerConfig, TakesTheDefaultsOfDiffusers) {
  const auto config = QwenImageTransformerConfig::from_json({}).value();
  EXPECT_EQ(config.inner_dim(), 3072);
  EXPECT_EQ(config.num_layers, 60);
  EXPECT_EQ(config.joint_attention_dim, 3584);
  EXPECT_FALSE(config.zero_cond_t);
}

TEST(QwenImageTransformerConfig, RefusesWhatNoNetworkHereCanHave) {
  const auto error = [](const char* json) {
    return QwenImageTransformerConfig::from_json(boost::json::parse(json).as_object()).error();
  };
  for (const char* const key : {"guidance_embeds", "use_additional_t_cond", "use_layer3d_rope"}) {
    const Error refused = error((std::string("{\"") + key + "\": true}").c_str());
    EXPECT_EQ(refused.field, key);
    EXPECT_EQ(refused.code, ErrorCode::unsupported);
  }
  EXPECT_EQ(error(R"({"patch_size": 1})").field, "patch_size");
  EXPECT_EQ(error(R"({"axes_dims_rope": [16, 56, 55]})").field, "axes_dims_rope");
  EXPECT_EQ(error(R"({"num_layers": 0})").field, "num_layers");
}

}  // namespace
}  // namespace diffused::models
