#include "models/clip_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ClipText load_clip(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return ClipText(ClipTextConfig::from_json(golden.config()).value(), golden.scope(dtype));
}

class ClipTextGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(ClipTextGolden, EqualsTransformersAtEveryLayer) {
  const Golden golden(GetParam());
  const ClipText clip = load_clip(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  const ClipTextOutput out = clip.forward(golden.in("ids"));
  ASSERT_EQ(std::ssize(out.hidden_states), clip.config().num_hidden_layers + 1);
  for (std::size_t i = 0; i < out.hidden_states.size(); ++i) {
    EXPECT_LE(relative_error(out.hidden_states[i], golden.out("hidden_states." + std::to_string(i))),
              kGoldenTolerance);
  }
  EXPECT_LE(relative_error(out.last_hidden_state, golden.out("last_hidden_state")), kGoldenTolerance);
  EXPECT_LE(relative_error(out.pooled, golden.out("pooled")), kGoldenTolerance);
}

// clip_l: quick_gelu, end id "2" and padding with the end token; clip_g: gelu, an end id below other ids,
// padding with 0; clip_plain: no projection.
INSTANTIATE_TEST_SUITE_P(Cases, ClipTextGolden, ::testing::Values("clip_l", "clip_g", "clip_plain"));

TEST(ClipText, TakesTheLastButOneStateAndSkipsMoreWhenAsked) {
  const Golden golden("clip_l");
  const ClipTextOutput out = load_clip(golden).forward(golden.in("ids"));
  EXPECT_TRUE(out.penultimate().equal(out.hidden_states[2]));
  EXPECT_TRUE(out.penultimate(1).equal(out.hidden_states[1]));
  EXPECT_TRUE(out.penultimate(2).equal(out.hidden_states[0]));
}

TEST(ClipText, PoolsAtPositionZeroWhenThereIsNoEndToken) {
  const Golden golden("clip_plain");
  const at::Tensor ids = at::full({1, 16}, 5, at::kLong);
  const ClipTextOutput out = load_clip(golden).forward(ids);
  EXPECT_TRUE(out.pooled.equal(out.last_hidden_state.select(1, 0)));
}

TEST(ClipText, ReadsFilesWithAndWithoutTheOuterPrefix) {
  const Golden golden("clip_plain");
  test::NamedTensors prefixed;
  for (const auto& [name, tensor] : golden.weights()) prefixed.emplace_back("text_model." + name, tensor);
  const test::WrittenWeights weights(prefixed);
  const ClipText clip(ClipTextConfig::from_json(golden.config()).value(), weights.scope());
  EXPECT_THAT(weights.unused(), IsEmpty());
  EXPECT_LE(relative_error(clip.forward(golden.in("ids")).pooled, golden.out("pooled")), kGoldenTolerance);
}

TEST(ClipText, IsCloseInBfloat16) {
  const Golden golden("clip_l");
  const ClipTextOutput out = load_clip(golden, at::kBFloat16).forward(golden.in("ids"));
  EXPECT_EQ(out.pooled.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(out.pooled, golden.out("pooled")), 0.04);
  EXPECT_LE(relative_error(out.penultimate(), golden.out("hidden_states.2")), 0.04);
}

TEST(ClipText, NamesTheTensorThatIsMissingOrMisshapen) {
  const Golden golden("clip_l");
  auto tensors = golden.weights();
  std::erase_if(tensors, [](const auto& t) { return t.first == "text_projection.weight"; });
  const auto config = ClipTextConfig::from_json(golden.config()).value();
  EXPECT_THAT(test::load_error([&] { ClipText(config, test::WrittenWeights(tensors).scope()); }),
              HasSubstr("text_projection.weight"));
  auto wider = config;
  wider.intermediate_size = 81;
  EXPECT_THAT(test::load_error([&] { ClipText(wider, golden.scope()); }),
              HasSubstr("text_model.encoder.layers.0.mlp.fc1.weight"));
}

TEST(ClipTextConfig, TakesTheDefaultsOfTransformers) {
  const auto config = ClipTextConfig::from_json({}).value();
  EXPECT_EQ(config.hidden_size, 512);
  EXPECT_EQ(config.num_attention_heads, 8);
  EXPECT_EQ(config.eos_token_id, 49407);
  EXPECT_EQ(config.hidden_act, nn::Activation::quick_gelu);
  EXPECT_FALSE(config.with_projection);
}

TEST(ClipTextConfig, RefusesWhatNoNetworkCanHave) {
  const auto field = [](const char* json) {
    return ClipTextConfig::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"num_attention_heads": 0})"), "num_attention_heads");
  EXPECT_EQ(field(R"({"num_attention_heads": 7})"), "num_attention_heads");
  EXPECT_EQ(field(R"({"hidden_size": "512"})"), "hidden_size");
  EXPECT_EQ(field(R"({"vocab_size": null})"), "vocab_size");
  EXPECT_EQ(field(R"({"layer_norm_eps": "small"})"), "layer_norm_eps");
  EXPECT_EQ(field(R"({"eos_token_id": [1, 2]})"), "eos_token_id");
  EXPECT_EQ(field(R"({"architectures": [1]})"), "architectures");
  const auto unknown = ClipTextConfig::from_json(boost::json::parse(R"({"hidden_act": "tanh"})").as_object());
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
  EXPECT_EQ(unknown.error().message,
            "config.json: \"hidden_act\" names an activation that is not supported: tanh");
}

TEST(ClipTextConfig, CountsTheWorkOfThePublishedEncoders) {
  const ClipTextConfig l{.hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12};
  const ClipTextConfig g{.hidden_size = 1280, .intermediate_size = 5120, .num_hidden_layers = 32};
  EXPECT_NEAR((l.flops(77) + g.flops(77)) / 1e12, 0.111, 0.003);
}

}  // namespace
}  // namespace diffused::models
