#include "diffusers/request.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace diffused::diffusers {
namespace {

// As python/diffused_worker/model.py says it.
constexpr const char* kSaid = R"({
  "class": "SanaPipeline", "dtype": "fp32", "device": "cpu", "parameters": 9000, "step_parameters": 4000, "resident_bytes": 77,
  "default_size": [64, 32], "size_multiple": 32, "side_max": 256, "schedulers": ["FlowMatchEulerDiscreteScheduler"],
  "forms": {
    "text": {"class": "SanaPipeline", "turns": "steps", "takes": {"width": 64, "height": 32, "num_inference_steps": 20,
             "guidance_scale": 4.5, "negative_prompt": "", "max_sequence_length": 300}},
    "image": {"class": "SanaImg2ImgPipeline", "turns": "one", "takes": {"num_inference_steps": 10, "strength": 0.6}}}})";

Description described() {
  auto made = read_description(boost::json::parse(kSaid).as_object());
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

GenerateRequest asked() {
  GenerateRequest request;
  request.prompt = "a fox";
  request.seeds = {18446744073709551615u};
  return request;
}

TEST(DiffusersRequest, DefaultsAreTheSignatures) {
  const auto resolved = resolve_request(described(), asked());
  ASSERT_TRUE(resolved) << resolved.error().message;
  EXPECT_EQ(boost::json::serialize(call_arguments(described(), *resolved, 0)),
            R"({"prompt":"a fox","seed":18446744073709551615,"scheduler":"FlowMatchEulerDiscreteScheduler",)"
            R"("num_inference_steps":20,"width":64,"height":32,"guidance_scale":4.5E0})");
}

TEST(DiffusersRequest, AFormHasDefaultsOfItsOwn) {
  GenerateRequest request = asked();
  request.init_image = std::make_shared<Image>(Image{64, 32, 3, std::vector<std::uint8_t>(64 * 32 * 3)});
  const auto resolved = resolve_request(described(), request);
  ASSERT_TRUE(resolved) << resolved.error().message;
  EXPECT_EQ(resolved->num_inference_steps, 10);
  EXPECT_EQ(resolved->strength, 0.6);
  EXPECT_FALSE(call_arguments(described(), *resolved, 0).contains("width"));
}

// The field, where the request is refused; "" where it is not.
std::string refused_field(const GenerateRequest& request) {
  const auto resolved = resolve_request(described(), request);
  return resolved ? "" : resolved.error().field;
}

TEST(DiffusersRequest, WhatTheCallDoesNotTakeIsRefusedByName) {
  const auto with = [](auto change) {
    GenerateRequest request = asked();
    change(request);
    return refused_field(request);
  };
  EXPECT_EQ(with([](auto& r) { r.prompt_2 = "b"; }), "prompt_2");
  EXPECT_EQ(with([](auto& r) { r.prompt_2 = ""; }), "");
  EXPECT_EQ(with([](auto& r) { r.clip_skip = 1; }), "clip_skip");
  EXPECT_EQ(with([](auto& r) { r.flow_shift = 3; }), "flow_shift");
  EXPECT_EQ(with([](auto& r) { r.variation_strength = 0.1; }), "variation_strength");
  EXPECT_EQ(with([](auto& r) { r.variation_strength = 0; }), "");
  EXPECT_EQ(with([](auto& r) { r.true_cfg_scale = 2; }), "true_cfg_scale");
  EXPECT_EQ(with([](auto& r) { r.strength = 0.5; }), "strength");  // of text alone
  EXPECT_EQ(with([](auto& r) { r.max_sequence_length = 100; }), "");
  EXPECT_EQ(with([](auto& r) { r.width = 48; }), "width");
  EXPECT_EQ(with([](auto& r) { r.scheduler = "DDIMScheduler"; }), "scheduler");
  EXPECT_EQ(with([](auto& r) { r.loras = {{"none", 1}}; }), "loras");
  EXPECT_EQ(with([](auto& r) {
              r.init_image = r.mask = std::make_shared<Image>(Image{8, 8, 1, std::vector<std::uint8_t>(64)});
            }),
            "mask");
}

TEST(DiffusersRequest, WorkGrowsWithSizeStepsAndGuidance) {
  const Description model = described();
  const auto work = [&](int side, int steps, double guidance) {
    GenerateRequest request = asked();
    request.width = request.height = side;
    request.num_inference_steps = steps;
    request.guidance_scale = guidance;
    return work_of(model, *resolve_request(model, request));
  };
  EXPECT_EQ(work(128, 10, 1).step_flops, 4 * work(64, 10, 1).step_flops);
  EXPECT_EQ(work(64, 10, 3).step_flops, 2 * work(64, 10, 1).step_flops);
  EXPECT_GT(work(64, 20, 1).picture_flops, work(64, 10, 1).picture_flops);
}

TEST(DiffusersRequest, ADescriptionThatLacksSomethingIsRefused) {
  boost::json::object said = boost::json::parse(kSaid).as_object();
  for (const char* const name : {"class", "forms", "default_size", "schedulers", "resident_bytes"}) {
    boost::json::object less = said;
    less.erase(name);
    EXPECT_EQ(read_description(less).error().code, ErrorCode::data_loss) << name;
  }
  said["forms"] = boost::json::object();
  EXPECT_FALSE(read_description(said));
}

}  // namespace
}  // namespace diffused::diffusers
