#include "models/qwen2_5_vl_vision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "support/golden.h"

namespace diffused::models {
namespace {

using test::Golden;
using test::relative_error;

Qwen25VlVision load_vision(const Golden& golden, at::ScalarType dtype = at::kFloat) {
  return {Qwen25VlVisionConfig::from_json(golden.config()).value(), golden.scope(dtype)};
}

TEST(Qwen25VlVision, EqualsTransformers) {
  const Golden golden("qwen2_5_vl_vision");
  const Qwen25VlVision vision = load_vision(golden);
  EXPECT_THAT(golden.unused_weights(), ::testing::IsEmpty());
  EXPECT_LE(relative_error(vision.forward(golden.in("picture")), golden.out("vectors")),
            test::kGoldenTolerance);
}

TEST(Qwen25VlVision, IsCloseInBfloat16) {
  const Golden golden("qwen2_5_vl_vision");
  const at::Tensor vectors =
      load_vision(golden, at::kBFloat16).forward(golden.in("picture").to(at::kBFloat16));
  EXPECT_EQ(vectors.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(vectors, golden.out("vectors")), 0.1);
}

TEST(Qwen25VlVision, SeesInWindowsButForSomeLayers) {
  const Golden golden("qwen2_5_vl_vision");
  auto config = Qwen25VlVisionConfig::from_json(golden.config()).value();
  config.fullatt_block_indexes = {};
  const at::Tensor picture = golden.in("picture");
  at::Tensor other = picture.clone();
  other.narrow(2, 0, 28).narrow(3, 0, 28).fill_(0);  // the first vector's pixels
  const auto changed = [&](const Qwen25VlVision& vision) {
    const at::Tensor difference = (vision.forward(picture) - vision.forward(other)).abs().amax(-1);
    return (difference.squeeze(0) > 1e-6).to(at::kLong);
  };
  // Of rows of seven vectors: those of the first window, two by two.
  const at::Tensor near = at::zeros({35}, at::kLong).index_fill(0, at::tensor({0, 1, 7, 8}, at::kLong), 1);
  EXPECT_TRUE(changed(Qwen25VlVision(config, golden.scope())).equal(near));
  EXPECT_GT(changed(load_vision(golden)).sum().item<std::int64_t>(), 4);
}

TEST(Qwen25VlVisionConfig, TakesTheDefaultsOfTransformers) {
  const auto config = Qwen25VlVisionConfig::from_json({}).value();
  EXPECT_EQ(config.depth, 32);
  EXPECT_EQ(config.vector_side(), 28);
  EXPECT_EQ(config.fullatt_block_indexes.size(), 4u);
}

TEST(Qwen25VlVisionConfig, RefusesWhatNoNetworkHereCanHave) {
  const auto field = [](const char* json) {
    return Qwen25VlVisionConfig::from_json(boost::json::parse(json).as_object()).error().field;
  };
  EXPECT_EQ(field(R"({"num_heads": 5})"), "num_heads");
  EXPECT_EQ(field(R"({"window_size": 20})"), "window_size");
  EXPECT_EQ(field(R"({"in_chans": 4})"), "in_channels");
  EXPECT_EQ(field(R"({"hidden_act": "gelu"})"), "hidden_act");
}

}  // namespace
}  // namespace diffused::models
