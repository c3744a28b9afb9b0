// Stable Diffusion 1, 2 and XL; their pictures are held against Diffusers' in tests/parity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

const std::filesystem::path kSd = kData / "tiny_sd", kXl = kData / "tiny_xl";

std::string refused(const Pipeline& pipeline, const std::function<void(GenerateRequest&)>& change) {
  auto request = request_of("a fox");
  change(request);
  const auto resolved = pipeline.resolve(request);
  return resolved ? "accepted" : resolved.error().field;
}

TEST(StableDiffusion, DescribesItself) {
  const auto pipeline = load_tiny(kSd);
  const PipelineInfo& info = pipeline->info();
  EXPECT_EQ(info.class_name, "StableDiffusionPipeline");
  EXPECT_EQ(info.size_multiple, 8);
  EXPECT_EQ(info.default_width, 64);
  EXPECT_EQ(info.default_steps, 50);
  EXPECT_EQ(info.default_guidance_scale, 7.5);
  EXPECT_EQ(info.schedulers.front(), "PNDMScheduler");
  EXPECT_THAT(info.schedulers, ::testing::IsSupersetOf({"EulerDiscreteScheduler", "LCMScheduler"}));
  auto edit = request_of("a fox");
  start_from_picture(edit, 64, 64);
  edit.strength.reset();
  EXPECT_EQ(pipeline->resolve(edit)->strength, 0.8);
  edit.mask = edit.init_image;
  EXPECT_EQ(pipeline->resolve(edit)->strength, 1.0);
}

TEST(StableDiffusion, RefusesWhatItCannotDoByField) {
  const auto pipeline = load_tiny(kSd);
  EXPECT_EQ(refused(*pipeline, [](auto&) {}), "accepted");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.width = 72; }), "accepted");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.width = 68; }), "width");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.height = 1 << 20; }), "height");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.clip_skip = 3; }), "clip_skip");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.guidance_rescale = 1.5; }), "guidance_rescale");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.guidance_rescale = std::nan(""); }), "guidance_rescale");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.scheduler = "FlowMatchEulerDiscreteScheduler"; }),
            "scheduler");
  // What belongs to other families means nothing here.
  EXPECT_EQ(refused(*pipeline,
                    [](auto& r) {
                      r.max_sequence_length = 9000, r.original_size = {{-1, 0}};
                    }),
            "accepted");
}

TEST(StableDiffusionXl, TellsTheNetworkTheSizes) {
  const auto pipeline = load_tiny(kXl);
  const auto drawn = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    change(request);
    return picture(*pipeline, request).pixels;
  };
  const auto plain = drawn([](auto&) {});
  EXPECT_EQ(plain, drawn([](auto& r) { r.original_size = r.target_size = {{64, 64}}; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.original_size = {{64, 32}}; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.crops_coords_top_left = {{0, 32}}; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.target_size = {{512, 64}}; }));
  // Alone, as in Diffusers, it does nothing.
  EXPECT_EQ(plain, drawn([](auto& r) { r.negative_original_size = {{1, 1}}; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.negative_original_size = r.negative_target_size = {{1, 1}}; }));
}

TEST(StableDiffusionXl, TakesZerosForANegativePromptThatIsAbsent) {
  TinyModel encoded("tiny_xl");
  encoded.edit("model_index.json",
               [](json::object& index) { index["force_zeros_for_empty_prompt"] = false; });
  const auto zeros = load_tiny(kXl), text = load_tiny(encoded.path());
  auto empty = request_of("a fox");
  empty.negative_prompt = "";
  const auto absent = request_of("a fox");
  EXPECT_NE(picture(*zeros, absent).pixels, picture(*zeros, empty).pixels);
  EXPECT_EQ(picture(*text, absent).pixels, picture(*text, empty).pixels);
  EXPECT_EQ(picture(*text, empty).pixels, picture(*zeros, empty).pixels);
}

TEST(StableDiffusionXl, RefusesSizesByField) {
  const auto pipeline = load_tiny(kXl);
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.original_size = {{-1, 64}}; }), "original_size");
  EXPECT_EQ(refused(*pipeline, [](auto& r) { r.target_size = {{64, 1 << 20}}; }), "target_size");
  EXPECT_EQ(refused(*pipeline,
                    [](auto& r) {
                      r.crops_coords_top_left = {{0, -2}};
                    }),
            "crops_coords_top_left");
}

TEST(UnetFamilies, RefuseConfigsThatContradictEachOther) {
  const auto refusal = [](const char* folder, const char* file, const char* key, const json::value& value) {
    TinyModel model(folder);
    model.edit(file, [&](json::object& config) { config[key] = value; });
    return model.refusal().message;
  };
  const char* const unet = "unet/config.json";
  for (const char* folder : {"tiny_sd", "tiny_xl"}) {
    EXPECT_THAT(refusal(folder, unet, "in_channels", 33), HasSubstr("in_channels 33"));
    EXPECT_THAT(refusal(folder, unet, "cross_attention_dim", 33), HasSubstr("cross_attention_dim is 33"));
    EXPECT_THAT(refusal(folder, unet, "mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
                HasSubstr("UNetMidBlock2DSimpleCrossAttn"));
    EXPECT_THAT(refusal(folder, "scheduler/scheduler_config.json", "beta_schedule", 1),
                HasSubstr("beta_schedule"));
  }
  EXPECT_THAT(refusal("tiny_xl", unet, "addition_time_embed_dim", 10), HasSubstr("six sizes"));
  EXPECT_THAT(refusal("tiny_xl", unet, "addition_embed_type", nullptr), HasSubstr("must be text_time"));
  EXPECT_THAT(refusal("tiny_sd", "model_index.json", "_class_name", "StableDiffusionXLPipeline"),
              HasSubstr("must be text_time"));
  EXPECT_THAT(refusal("tiny_xl", "model_index.json", "force_zeros_for_empty_prompt", 1),
              HasSubstr("force_zeros_for_empty_prompt"));
}

}  // namespace
}  // namespace diffused::pipelines
