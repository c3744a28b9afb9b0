// What is FLUX's own. That its pictures are Diffusers' is held by tests/parity/test_flux.py.
#include "pipelines/flux.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "pipelines/rows_independent.h"
#include "pipelines/tiny_flux.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

GenerateRequest flux_request(const std::string& prompt, std::vector<std::uint64_t> seeds = {1}) {
  auto request = pipelines::request_of(prompt, std::move(seeds));
  request.max_sequence_length = 40;
  return request;
}

GenerateRequest guided_request(const std::string& prompt) {
  auto request = flux_request(prompt);
  request.negative_prompt = "blurry";
  request.true_cfg_scale = 3;
  return request;
}

// Rows that share a key: other prompts, seeds, scales, numbers of steps and samplers, from noise and from
// pictures.
std::vector<GenerateRequest> mixed_requests(bool guided) {
  const char* const schedulers[] = {"", "FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler",
                                    "FlowMatchLCMScheduler"};
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 5; ++i) {
    const std::string prompt = "picture number " + std::to_string(i);
    auto request = guided ? guided_request(prompt) : flux_request(prompt);
    if (guided) request.true_cfg_scale = 1.5 + i;
    requests.push_back(vary(std::move(request), i, schedulers));
  }
  return requests;
}

TEST(Flux, APictureDoesNotDependOnTheRowsBesideIt) {
  const TinyFlux model;
  for (const char* dtype : {"fp32", "bf16"}) {
    const auto pipeline = model.load(dtype);
    for (const bool guided : {false, true}) expect_rows_independent(*pipeline, mixed_requests(guided));
  }
}

TEST(FluxFill, APictureDoesNotDependOnTheRowsBesideIt) {
  const auto pipeline = TinyFlux(/*guidance_embeds=*/true, /*fills=*/true).load();
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 4; ++i) {
    auto request = flux_request("picture number " + std::to_string(i), {static_cast<std::uint64_t>(i)});
    start_from_picture(request, 64, 50 + i, /*with_mask=*/true);
    request.strength = i == 0 ? 1.0 : 0.7;
    request.num_inference_steps = 3 + i;
    requests.push_back(std::move(request));
  }
  expect_rows_independent(*pipeline, requests);
}

TEST(FluxFill, OnlyInpaintsWithDefaultsOfItsOwn) {
  const auto pipeline = TinyFlux(/*guidance_embeds=*/true, /*fills=*/true).load();
  EXPECT_FALSE(pipeline->info().image_to_image);
  EXPECT_TRUE(pipeline->info().inpaint);
  GenerateRequest request;
  request.seeds = {1};
  EXPECT_EQ(pipeline->resolve(request).error().field, "image");
  start_from_picture(request, 64, 64);
  EXPECT_EQ(pipeline->resolve(request).error().field, "mask");
  start_from_picture(request, 64, 64, /*with_mask=*/true);
  request.strength.reset();
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.num_inference_steps, 50);
  EXPECT_EQ(resolved.guidance_scale, 30);
  EXPECT_EQ(resolved.strength, 1);
}

TEST(FluxFill, NeedsANetworkThatSeesTheMask) {
  TinyFlux plain;
  plain.edit("model_index.json", [](json::object& index) { index["_class_name"] = "FluxFillPipeline"; });
  EXPECT_THAT(plain.refusal().message, HasSubstr("what it sees besides 320"));
  TinyFlux fills(/*guidance_embeds=*/true, /*fills=*/true);
  fills.edit("model_index.json", [](json::object& index) { index["_class_name"] = "FluxPipeline"; });
  EXPECT_THAT(fills.refusal().message, HasSubstr("in_channels 384"));
}

TEST(Flux, AnEditHasAGuidanceScaleOfItsOwn) {
  TinyFlux model;
  auto edit = flux_request("a fox");
  edit.guidance_scale.reset();
  const GenerateRequest text = edit;
  start_from_picture(edit, 64, 64);
  EXPECT_EQ(model.load()->resolve(edit)->guidance_scale, 7.0);
  EXPECT_EQ(model.load()->resolve(text)->guidance_scale, 3.5);
  write_file(model.path() / "diffused.json", R"({"guidance_scale": 2.5})");
  EXPECT_EQ(model.load()->resolve(edit)->guidance_scale, 2.5);
}

TEST(Flux, GroupsRowsByWhatMayShareAForwardPass) {
  const auto pipeline = TinyFlux().load();
  const auto key = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = flux_request("a fox");
    change(request);
    return first_step_key(*pipeline, request);
  };
  const auto plain = key([](auto&) {});
  EXPECT_EQ(plain, key([](auto& r) { r.guidance_scale = 1; }));
  EXPECT_EQ(plain, key([](auto& r) { r.true_cfg_scale = 1, r.negative_prompt = "x"; }));
  EXPECT_NE(plain, key([](auto& r) { r.true_cfg_scale = 2, r.negative_prompt = "x"; }));
  EXPECT_NE(plain, key([](auto& r) { r.max_sequence_length = 41; }));
  EXPECT_NE(plain, key([](auto& r) { r.width = 80; }));
}

TEST(Flux, IsGuidedByATrueScaleWithANegativePromptOnly) {
  const auto pipeline = TinyFlux().load();
  const auto drawn = [&](std::optional<double> scale, std::optional<std::string> negative) {
    auto request = flux_request("a fox");
    request.true_cfg_scale = scale;
    request.negative_prompt = std::move(negative);
    return picture(*pipeline, request).pixels;
  };
  const auto plain = drawn(std::nullopt, std::nullopt);
  EXPECT_EQ(drawn(5, std::nullopt), plain);
  EXPECT_EQ(drawn(1, "wet"), plain);
  EXPECT_EQ(drawn(std::nullopt, "wet"), plain);
  EXPECT_NE(drawn(5, "wet"), plain);
  EXPECT_NE(drawn(5, ""), plain);
  EXPECT_NE(drawn(5, ""), drawn(5, "wet"));
}

TEST(Flux, TellsItsNetworkTheGuidanceScaleWhereItWantsOne) {
  for (const bool told : {true, false}) {
    const auto pipeline = TinyFlux(told).load();
    auto low = flux_request("a fox"), high = low;
    low.guidance_scale = 0;
    high.guidance_scale = 8;
    EXPECT_EQ(picture(*pipeline, low).pixels != picture(*pipeline, high).pixels, told);
  }
}

TEST(Flux, GivesTheFirstPromptToClipAndTheSecondToT5) {
  const auto pipeline = TinyFlux().load();
  const auto drawn = [&](const std::string& prompt, std::optional<std::string> prompt_2) {
    auto request = flux_request(prompt);
    request.prompt_2 = std::move(prompt_2);
    return picture(*pipeline, request).pixels;
  };
  const auto both = drawn("a fox", std::nullopt);
  EXPECT_EQ(drawn("a fox", ""), both);
  EXPECT_EQ(drawn("a fox", "a fox"), both);
  EXPECT_NE(drawn("a fox", "an owl"), both);
  EXPECT_NE(drawn("an owl", "a fox"), both);
}

TEST(Flux, DescribesItselfAndFillsInTheDefaultsOfDiffusers) {
  const auto pipeline = TinyFlux().load();
  const PipelineInfo& info = pipeline->info();
  EXPECT_TRUE(info.true_cfg_scale);
  EXPECT_EQ(info.class_name, "FluxPipeline");
  EXPECT_EQ(info.size_multiple, 16);
  EXPECT_EQ(info.max_side, 4096);
  EXPECT_TRUE(info.image_to_image);
  EXPECT_TRUE(info.inpaint);
  GenerateRequest request;
  request.seeds = {1};
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.width, 1024);
  EXPECT_EQ(resolved.height, 1024);
  EXPECT_EQ(resolved.num_inference_steps, 28);
  EXPECT_EQ(resolved.guidance_scale, 3.5);
  EXPECT_EQ(resolved.true_cfg_scale, 1);
  EXPECT_EQ(resolved.max_sequence_length, 512);
  EXPECT_EQ(resolved.negative_prompt, std::nullopt);
}

TEST(Flux, EstimatesMoreWorkForMore) {
  const auto pipeline = TinyFlux().load();
  const auto cost = [&](const GenerateRequest& request) {
    return pipeline->cost_flops(pipeline->resolve(request).value());
  };
  auto long_text = flux_request("a fox");
  long_text.max_sequence_length = 512;
  EXPECT_GT(cost(guided_request("a fox")), cost(flux_request("a fox")));
  EXPECT_GT(cost(long_text), cost(flux_request("a fox")));
}

TEST(Flux, DrawsWithEverySamplerItOffers) {
  const auto pipeline = TinyFlux().load();
  EXPECT_THAT(pipeline->info().schedulers,
              ::testing::IsSupersetOf({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler",
                                       "UniPCMultistepScheduler"}));
  for (const std::string& scheduler : pipeline->info().schedulers) {
    auto request = flux_request("a fox");
    request.scheduler = scheduler;
    const auto pixels = picture(*pipeline, request).pixels;
    EXPECT_NE(*std::ranges::min_element(pixels), *std::ranges::max_element(pixels)) << scheduler;
  }
}

TEST(Flux, RefusesWhatItCannotDoByField) {
  const auto pipeline = TinyFlux().load();
  const auto refused = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = flux_request("a fox");
    change(request);
    const auto resolved = pipeline->resolve(request);
    return resolved ? "accepted" : resolved.error().field;
  };
  EXPECT_EQ(refused([](auto&) {}), "accepted");
  for (const int side : {0, 8, 72, 4112}) EXPECT_EQ(refused([side](auto& r) { r.width = side; }), "width");
  EXPECT_EQ(refused([](auto& r) { r.true_cfg_scale = std::nan(""); }), "true_cfg_scale");
  EXPECT_EQ(refused([](auto& r) { r.max_sequence_length = 1; }), "max_sequence_length");
  EXPECT_EQ(refused([](auto& r) { r.max_sequence_length = 513; }), "max_sequence_length");
}

TEST(Flux, RefusesFoldersWhosePartsDoNotFit) {
  const auto refusal = [](const char* file, const std::function<void(json::object&)>& change) {
    TinyFlux model;
    model.edit(file, change);
    return model.refusal().message;
  };
  const auto refused_transformer = [&](const char* key, std::int64_t value) {
    return refusal("transformer/config.json", [&](json::object& config) { config[key] = value; });
  };
  EXPECT_THAT(refused_transformer("in_channels", 48), HasSubstr("packed latents have 64 channels"));
  EXPECT_THAT(refused_transformer("joint_attention_dim", 13), HasSubstr("text_encoder_2 gives"));
  EXPECT_THAT(refused_transformer("pooled_projection_dim", 13), HasSubstr("text_encoder gives"));
  EXPECT_THAT(refused_transformer("num_layers", 2), HasSubstr("transformer_blocks.1.norm1.linear.weight"));
  EXPECT_THAT(refused_transformer("num_single_layers", 1), HasSubstr("single_transformer_blocks.1"));
  EXPECT_THAT(refused_transformer("attention_head_dim", 32), HasSubstr("axes_dims_rope"));
  const auto as_class = [&](const char* component, const char* library, const char* name) {
    return refusal("model_index.json", [&](json::object& index) { index[component] = {library, name}; });
  };
  EXPECT_THAT(as_class("transformer", "diffusers", "SD3Transformer2DModel"), HasSubstr("only"));
  EXPECT_THAT(as_class("text_encoder_2", "transformers", "UMT5EncoderModel"), HasSubstr("only"));
}

}  // namespace
}  // namespace diffused::pipelines
