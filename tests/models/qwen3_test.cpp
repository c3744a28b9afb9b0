#include "models/qwen3.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::kGoldenTolerance;
using test::relative_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kRealTokens = 23;  // tokens of the golden text that are no padding

Qwen3Config qwen3_config(const Golden& golden, std::vector<std::int64_t> taps) {
  auto config = golden.config().contains("text_config")
                    ? Qwen25VlTextConfig::from_json(golden.config())->decoder
                    : Qwen3Config::from_json(golden.config()).value();
  config.taps = std::move(taps);
  return config;
}

class Qwen3Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Qwen3Golden, EqualsTransformersAtEveryLayer) {
  const Golden golden(GetParam());
  std::vector<std::int64_t> taps;
  for (std::int64_t i = 1; i <= qwen3_config(golden, {}).num_hidden_layers; ++i) taps.push_back(i);
  const Qwen3Config config = qwen3_config(golden, taps);
  const Qwen3 qwen3(config, golden.scope());
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
  for (const auto& [name, length] :
       {std::pair{"whole", kRealTokens}, std::pair{"padded", std::int64_t{32}}}) {
    const at::Tensor states = qwen3.forward(golden.in("ids").narrow(1, 0, length), kRealTokens);
    for (std::size_t i = 0; i < taps.size(); ++i) {
      const at::Tensor expected = golden.out(std::string(name) + "." + std::to_string(taps[i]));
      const at::Tensor state =
          states.narrow(2, static_cast<std::int64_t>(i) * config.hidden_size, config.hidden_size);
      EXPECT_LE(relative_error(state, expected), kGoldenTolerance) << name << " " << taps[i];
    }
  }
}

TEST_P(Qwen3Golden, ReadsNoLayerBehindTheLastTap) {
  const Golden golden(GetParam());
  test::NamedTensors tensors;
  for (const auto& [name, tensor] : golden.weights()) {
    if (name.find("layers.0.") != name.npos || name.find("embed_tokens") != name.npos)
      tensors.emplace_back(name, tensor);
  }
  const test::WrittenWeights first_layer(tensors);
  const Qwen3 cut(qwen3_config(golden, {1}), first_layer.scope());
  EXPECT_LE(relative_error(cut.forward(golden.in("ids").narrow(1, 0, kRealTokens), kRealTokens),
                           golden.out("whole.1")),
            kGoldenTolerance);
  // Nor does it miss what it finds there.
  const Qwen3 whole(qwen3_config(golden, {1}), golden.scope());
  EXPECT_THAT(golden.unused_weights(), IsEmpty());
}

TEST_P(Qwen3Golden, IsCloseInBfloat16) {
  const Golden golden(GetParam());
  const Qwen3 qwen3(qwen3_config(golden, {2}), golden.scope(at::kBFloat16));
  const at::Tensor states = qwen3.forward(golden.in("ids"), kRealTokens);
  EXPECT_EQ(states.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(states, golden.out("padded.2")), 0.06);
}

INSTANTIATE_TEST_SUITE_P(Cases, Qwen3Golden,
                         ::testing::Values("qwen3_grouped", "qwen3_causal", "qwen2_5_vl"));

TEST(Qwen3, NamesTheTensorThatIsMissing) {
  const Golden golden("qwen3_grouped");
  auto config = qwen3_config(golden, {4});
  config.num_hidden_layers = 4;
  EXPECT_THAT(test::load_error([&] { Qwen3(config, golden.scope()); }), HasSubstr("layers.3."));
}

TEST(Qwen3Config, TakesTheDefaultsOfTransformers) {
  const auto config = Qwen3Config::from_json({}).value();
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.rope_theta, 10000);
}

TEST(Qwen3Config, FindsTheBaseOfTheRotationWhereverItStands) {
  const auto theta = [](const char* json) {
    return Qwen3Config::from_json(boost::json::parse(json).as_object())->rope_theta;
  };
  EXPECT_EQ(theta(R"({"rope_theta": 1000000})"), 1e6);
  EXPECT_EQ(theta(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})"), 5e5);
}

TEST(Qwen3Config, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* json) {
    return Qwen3Config::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"num_key_value_heads": 5})"), "num_key_value_heads");
  EXPECT_EQ(field(R"({"head_dim": 7})"), "head_dim");
  EXPECT_EQ(field(R"({"attention_bias": true})"), "attention_bias");
  EXPECT_EQ(field(R"({"hidden_act": "gelu"})"), "hidden_act");
  EXPECT_EQ(field(R"({"use_sliding_window": true})"), "use_sliding_window");
  EXPECT_EQ(field(R"({"rope_parameters": {"rope_type": "yarn"}})"), "rope_parameters");
  EXPECT_EQ(field(R"({"rope_theta": -1})"), "rope_theta");
  EXPECT_EQ(field(R"({"rope_scaling": {"type": "yarn"}})"), "rope_scaling");
}

TEST(Qwen25VlTextConfig, FindsItsKeysWhereverTheyStand) {
  const auto read = [](const char* json) {
    return Qwen25VlTextConfig::from_json(boost::json::parse(json).as_object());
  };
  const auto plain = read("{}")->decoder;
  EXPECT_EQ(plain.hidden_size, 8192);
  EXPECT_EQ(plain.head_dim, 128);
  EXPECT_EQ(plain.rope_theta, 1e6);
  EXPECT_FALSE(plain.head_norms);
  EXPECT_EQ(read(R"({"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
                     "rope_scaling": {"type": "mrope", "rope_type": "default"}})")
                ->decoder.head_dim,
            128);
  EXPECT_EQ(read(R"({"hidden_size": 64, "text_config": {"hidden_size": 128, "num_attention_heads": 8}})")
                ->decoder.head_dim,
            16);
  EXPECT_EQ(read(R"({"num_attention_heads": 24})").error().field, "num_attention_heads");
  EXPECT_EQ(read(R"({"rope_scaling": {"type": "yarn"}})").error().field, "rope_scaling");
}

TEST(Qwen3Config, CountsTheWorkOfTheLayersThatRun) {
  auto config = Qwen3Config::from_json({}).value();
  config.taps = {8, 16};
  const double half = config.flops(512);
  config.taps = {32};
  EXPECT_DOUBLE_EQ(config.flops(512), 2 * half);
  EXPECT_EQ(config.state_size(), 4096);
}

}  // namespace
}  // namespace diffused::models
