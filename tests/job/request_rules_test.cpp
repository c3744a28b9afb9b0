#include "job/request_rules.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "support/fake_dispatcher.h"

namespace diffused {
namespace {

GenerateRequest good_request(const PipelineInfo& model) {
  GenerateRequest request;
  request.seeds = {1};
  fill_in_defaults(model, request);
  return request;
}

TEST(RequestRules, FillInWhatIsLeftOpenAndNothingElse) {
  const PipelineInfo model = small_model_info();
  const GenerateRequest filled = good_request(model);
  EXPECT_EQ(filled.width, model.default_width);
  EXPECT_EQ(filled.height, model.default_height);
  EXPECT_EQ(filled.num_inference_steps, model.default_steps);
  EXPECT_EQ(filled.scheduler, model.schedulers.front());
  EXPECT_FALSE(filled.guidance_scale);  // depends on more than these
  EXPECT_TRUE(check_limits(model, filled));
  GenerateRequest own;
  own.width = 128;
  own.scheduler = "mine";
  fill_in_defaults(model, own);
  EXPECT_EQ(own.width, 128);
  EXPECT_EQ(own.scheduler, "mine");
}

TEST(RequestRules, NameTheFieldThatIsWrong) {
  const PipelineInfo model = small_model_info();
  const auto picture = std::make_shared<const Image>(plain_image(16, 16, 0));
  const std::vector<std::pair<std::string, std::function<void(GenerateRequest&)>>> wrong = {
      {"n", [](auto& r) { r.seeds.clear(); }},
      {"width", [](auto& r) { r.width = 60; }},
      {"height", [](auto& r) { r.height = 2048; }},
      {"height", [](auto& r) { r.height = 0; }},
      {"num_inference_steps", [](auto& r) { r.num_inference_steps = 0; }},
      {"num_inference_steps", [](auto& r) { r.num_inference_steps = 1001; }},
      {"guidance_scale", [](auto& r) { r.guidance_scale = std::numeric_limits<double>::infinity(); }},
      {"scheduler", [](auto& r) { r.scheduler = "DDIMScheduler"; }},
      {"loras",
       [](auto& r) {
         r.loras = {{"none", 1}};
       }},
      {"loras",
       [](auto& r) {
         r.loras = {{"ink", std::numeric_limits<double>::quiet_NaN()}};
       }},
      {"mask", [&](auto& r) { r.mask = picture; }},
      {"strength", [&](auto& r) { r.init_image = picture, r.strength = 1.5; }},
  };
  for (const auto& [field, spoil] : wrong) {
    GenerateRequest request = good_request(model);
    spoil(request);
    const auto checked = check_limits(model, request);
    ASSERT_FALSE(checked) << field;
    EXPECT_EQ(checked.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(checked.error().field, field) << checked.error().message;
  }
}

TEST(RequestRules, WantAPictureAndAMaskForAModelThatOnlyInpaints) {
  PipelineInfo model = small_model_info();
  model.image_to_image = false;
  GenerateRequest request = good_request(model);
  EXPECT_EQ(check_limits(model, request).error().field, "image");
  request.init_image = std::make_shared<const Image>(plain_image(16, 16, 0));
  EXPECT_EQ(check_limits(model, request).error().field, "mask");
  request.mask = request.init_image;
  EXPECT_TRUE(check_limits(model, request));
}

}  // namespace
}  // namespace diffused
