#include "models/t5.h"

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

T5Encoder load_t5(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return T5Encoder(T5Config::from_json(golden.config()).value(), golden.scope(dtype));
}

class T5Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(T5Golden, EqualsTransformers) {
  const Golden golden(GetParam());
  const T5Encoder t5 = load_t5(golden);
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  EXPECT_LE(relative_error(t5.forward(golden.in("ids")), golden.out("last_hidden_state")), kGoldenTolerance);
}

INSTANTIATE_TEST_SUITE_P(Cases, T5Golden, ::testing::Values("t5_gated", "t5_relu"));

TEST(T5, TakesTheTokenTableUnderEitherName) {
  const Golden golden("t5_gated");
  for (const bool both : {false, true}) {
    test::NamedTensors tensors;
    for (const auto& [name, tensor] : golden.weights()) {
      if (name != "shared.weight" || both) tensors.emplace_back(name, tensor);
      if (name == "shared.weight") tensors.emplace_back("encoder.embed_tokens.weight", tensor);
    }
    const test::WrittenWeights weights(tensors);
    const T5Encoder t5(T5Config::from_json(golden.config()).value(), weights.scope());
    EXPECT_THAT(weights.unused(), IsEmpty());
    EXPECT_LE(relative_error(t5.forward(golden.in("ids")), golden.out("last_hidden_state")),
              kGoldenTolerance);
  }
}

TEST(T5, IsCloseInBfloat16) {
  const Golden golden("t5_gated");
  const at::Tensor out = load_t5(golden, at::kBFloat16).forward(golden.in("ids"));
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(out, golden.out("last_hidden_state")), 0.04);
}

TEST(T5, NamesTheTensorThatIsMissing) {
  const Golden golden("t5_relu");
  auto config = T5Config::from_json(golden.config()).value();
  config.gated = true;
  EXPECT_THAT(test::load_error([&] { T5Encoder(config, golden.scope()); }),
              HasSubstr("encoder.block.0.layer.1.DenseReluDense.wi_1.weight"));
}

TEST(T5Config, TakesTheDefaultsOfTransformers) {
  const auto config = T5Config::from_json({}).value();
  EXPECT_EQ(config.d_model, 512);
  EXPECT_EQ(config.relative_attention_num_buckets, 32);
  EXPECT_FALSE(config.gated);
  EXPECT_EQ(config.activation, nn::Activation::relu);
}

TEST(T5Config, ReadsTheNamesOfTheFeedForward) {
  const auto config = [](std::string_view name) {
    return T5Config::from_json({{"feed_forward_proj", name}});
  };
  EXPECT_EQ(config("gated-gelu")->activation, nn::Activation::gelu_tanh);
  EXPECT_TRUE(config("gated-silu")->gated);
  EXPECT_EQ(config("gelu")->activation, nn::Activation::gelu);
  EXPECT_EQ(config("gated-tanh").error().code, ErrorCode::unsupported);
}

TEST(T5Config, RefusesWhatNoNetworkCanHave) {
  const auto field = [](const char* json) {
    return T5Config::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"num_heads": 0})"), "num_heads");
  EXPECT_EQ(field(R"({"d_ff": 1.5})"), "d_ff");
  EXPECT_EQ(field(R"({"relative_attention_num_buckets": 6})"), "relative_attention_num_buckets");
  EXPECT_EQ(field(R"({"relative_attention_max_distance": 8})"), "relative_attention_max_distance");
  EXPECT_EQ(field(R"({"feed_forward_proj": 3})"), "feed_forward_proj");
}

TEST(T5Config, CountsTheWorkOfTheXxlEncoder) {
  const T5Config xxl{.d_model = 4096, .d_ff = 10240, .num_layers = 24, .num_heads = 64, .gated = true};
  EXPECT_NEAR(xxl.flops(256) / 1e12, 2.397, 0.03);
  EXPECT_NEAR(xxl.flops(77) / 1e12, 0.715, 0.01);
}

}  // namespace
}  // namespace diffused::models
