#include "pipelines/sd3.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "pipelines/golden_pictures.h"
#include "pipelines/rows_independent.h"
#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Le;

TEST(Sd3, DrawsThePicturesOfDiffusersWithAndWithoutT5) {
  const auto golden = golden_pictures();
  TinyModel without;
  without.edit("model_index.json", [](json::object& index) {
    index["text_encoder_3"] = index["tokenizer_3"] = json::array{nullptr, nullptr};
  });
  const auto with_t5 = load_tiny(), without_t5 = load_tiny(without.path());
  for (const auto& item : golden_cases()) {
    const std::string name = std::string(item.at("name").as_string());
    const GenerateRequest request = golden_request(*golden, item);
    for (std::size_t i = 0; i < request.n(); ++i) {
      const Image image = picture(item.at("t5").as_bool() ? *with_t5 : *without_t5, request, i);
      EXPECT_THAT(differences(image, golden_picture(*golden, name + "." + std::to_string(i))), Each(Le(1)))
          << name;
    }
  }
}

TEST(Sd3, TakesAMissingT5FolderForAModelWithoutT5) {
  TinyModel null_entry, no_folder;
  null_entry.edit("model_index.json", [](json::object& index) {
    index["text_encoder_3"] = {nullptr, nullptr};
  });
  std::filesystem::remove_all(no_folder.path() / "text_encoder_3");
  const auto request = pipelines::request_of("a fox");
  EXPECT_EQ(picture(*load_tiny(null_entry.path()), request).pixels,
            picture(*load_tiny(no_folder.path()), request).pixels);
}

TEST(Sd3, RowsOfOtherSequenceLengthsShareNoForwardPass) {
  const auto pipeline = load_tiny();
  const auto request = pipelines::request_of("a fox");
  auto shorter = request;
  shorter.max_sequence_length = 77;
  EXPECT_NE(first_step_key(*pipeline, request), first_step_key(*pipeline, shorter));
}

TEST(Sd3, AKnownPromptStartsAtItsFirstStep) {
  const auto pipeline = load_tiny();
  const auto request = pipelines::request_of("a fox", {1, 2});
  const auto first = begin(*pipeline, request, 0), twin = begin(*pipeline, request, 1);
  EXPECT_EQ(first->next().kind, UnitKind::encode);
  EXPECT_EQ(first->next().key, twin->next().key);
  Row* const both[] = {first.get(), twin.get()};
  pipeline->run(both);
  EXPECT_EQ(pipeline->stats().prompt_cache_misses, 2u);  // the prompt and the empty negative one, once each
  EXPECT_EQ(pipeline->stats().prompt_cache_hits, 2u);
  EXPECT_GT(pipeline->stats().prompt_cache_bytes, 0u);
  EXPECT_EQ(begin(*pipeline, request)->next().kind, UnitKind::step);

  auto skipped = request;
  skipped.clip_skip = 1;
  EXPECT_EQ(begin(*pipeline, skipped)->next().kind, UnitKind::encode);
}

TEST(Sd3, DecodesInUnitsNoLongerThanAStep) {
  const auto pipeline = load_tiny();
  auto request = pipelines::request_of("a fox");
  request.num_inference_steps = 1;
  request.guidance_scale = 1;
  request.max_sequence_length = 2;
  const auto row = begin(*pipeline, request);
  run_unit(*pipeline, *row);
  const double step_flops = row->next().cost_flops;
  run_unit(*pipeline, *row);
  double decode_flops = 0;
  std::set<std::uint64_t> keys;
  for (; row->next().kind == UnitKind::decode; run_unit(*pipeline, *row)) {
    decode_flops += row->next().cost_flops;
    // One layer may be more than a step: the doubling of 32 x 32 pixels of 16 channels is the largest.
    EXPECT_LE(row->next().cost_flops, std::max(step_flops, 2.0 * 9 * 16 * 16 * 64 * 64));
    EXPECT_TRUE(keys.insert(row->next().key).second);
    EXPECT_TRUE(pipeline->preview(*row));
  }
  EXPECT_GT(keys.size(), 1u);
  EXPECT_GT(decode_flops, step_flops);
  EXPECT_EQ(pipeline->take(*row).value().pixels, picture(*pipeline, request).pixels);
}

TEST(Sd3, DescribesItself) {
  const auto pipeline = load_tiny();
  const PipelineInfo& info = pipeline->info();
  EXPECT_EQ(info.class_name, "StableDiffusion3Pipeline");
  EXPECT_EQ(info.dtype, "fp32");
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.weight_bytes(), 4 * info.parameters);
  EXPECT_GT(info.parameters, 100'000u);
  EXPECT_EQ(info.size_multiple, 16);
  EXPECT_EQ(info.default_width, 64);
  EXPECT_EQ(info.max_side, 12 * 16);
  EXPECT_EQ(info.default_steps, 28);
  EXPECT_EQ(info.default_guidance_scale, 7.0);
  EXPECT_TRUE(info.image_to_image);
  EXPECT_TRUE(info.inpaint);
  ASSERT_FALSE(info.schedulers.empty());
  EXPECT_EQ(info.schedulers.front(), "FlowMatchEulerDiscreteScheduler");
  EXPECT_THAT(info.schedulers,
              ::testing::IsSupersetOf({"FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler",
                                       "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"}));
}

TEST(Sd3, TakesItsDefaultsFromTheFolder) {
  TinyModel model;
  write_file(model.path() / "diffused.json", R"({"num_inference_steps": 12, "guidance_scale": 3})");
  const auto pipeline = load_tiny(model.path());
  GenerateRequest request;
  request.seeds = {1};
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.num_inference_steps, 12);
  EXPECT_EQ(resolved.guidance_scale, 3.0);
  EXPECT_EQ(resolved.width, 64);
  EXPECT_EQ(resolved.scheduler, "FlowMatchEulerDiscreteScheduler");
}

TEST(Sd3, OffersTheSamplersThatTheFoldersOptionsAllow) {
  TinyModel model;
  model.edit("scheduler/scheduler_config.json",
             [](json::object& config) { config["use_beta_sigmas"] = true; });
  const auto pipeline = load_tiny(model.path());
  EXPECT_THAT(pipeline->info().schedulers, ::testing::Contains("FlowMatchHeunDiscreteScheduler"));
  EXPECT_THAT(pipeline->info().schedulers, ::testing::Not(::testing::Contains("UniPCMultistepScheduler")));
}

TEST(Sd3, TakesASchedulerWithPythonsInfinityForOneWithoutThatOption) {
  TinyModel model;
  model.edit("model_index.json", [](json::object& index) {
    index["scheduler"] = {"diffusers", "DPMSolverMultistepScheduler"};
  });
  const std::string options =
      R"("use_flow_sigmas": true, "prediction_type": "flow_prediction", "name": "NaN \"")";
  const auto drawn = [&](const std::string& text) {
    write_file(model.path() / "scheduler/scheduler_config.json", text);
    return picture(*load_tiny(model.path()), pipelines::request_of("a fox")).pixels;
  };
  EXPECT_EQ(drawn("{" + options + R"(, "lambda_min_clipped": -Infinity, "sigma_max": NaN})"),
            drawn("{" + options + "}"));
}

TEST(Sd3, RefusesWhatItCannotDoByField) {
  const auto pipeline = load_tiny();
  const auto refused = [&pipeline](const std::function<void(GenerateRequest&)>& change) {
    auto request = pipelines::request_of("a fox");
    change(request);
    const auto resolved = pipeline->resolve(request);
    return resolved ? "accepted" : resolved.error().field;
  };
  EXPECT_EQ(refused([](auto&) {}), "accepted");
  EXPECT_EQ(refused([](auto& r) { r.seeds.clear(); }), "n");
  for (const int side : {0, -16, 8, 72, 208, 1 << 30, std::numeric_limits<int>::min()}) {
    EXPECT_EQ(refused([side](auto& r) { r.width = side; }), "width") << side;
    EXPECT_EQ(refused([side](auto& r) { r.height = side; }), "height") << side;
  }
  EXPECT_EQ(refused([](auto& r) { r.num_inference_steps = 0; }), "num_inference_steps");
  EXPECT_EQ(refused([](auto& r) { r.num_inference_steps = -1; }), "num_inference_steps");
  EXPECT_EQ(refused([](auto& r) { r.guidance_scale = std::nan(""); }), "guidance_scale");
  EXPECT_EQ(refused([](auto& r) { r.guidance_scale = INFINITY; }), "guidance_scale");
  EXPECT_EQ(refused([](auto& r) { r.clip_skip = -1; }), "clip_skip");
  EXPECT_EQ(refused([](auto& r) { r.clip_skip = 2; }),
            "clip_skip");  // the second text encoder has two layers
  EXPECT_EQ(refused([](auto& r) { r.max_sequence_length = 1; }), "max_sequence_length");
  EXPECT_EQ(refused([](auto& r) { r.max_sequence_length = 513; }), "max_sequence_length");
  EXPECT_EQ(refused([](auto& r) { r.scheduler = "NoSuchScheduler"; }), "scheduler");
}

}  // namespace
}  // namespace diffused::pipelines
