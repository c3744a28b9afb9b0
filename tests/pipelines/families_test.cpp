// What holds for every family, whatever its networks: a line in kFamilies is all that a new one adds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "pipelines/rows_independent.h"
#include "pipelines/tiny_lora.h"

namespace diffused::pipelines {
namespace {

struct FamilyCase {
  const char* name;
  const char* folder;                   // in tests/pipelines/data
  std::vector<const char*> schedulers;  // that may share a batch: empty is the folder's own
  double unguided = 1;                  // a guidance scale that means none
  bool edits = true;                    // whether it starts from pictures
  int preview_side = 8;                 // of a picture of 64 pixels
  bool asks_for_negative = false;       // whether there is guidance only with a negative prompt
};
void PrintTo(const FamilyCase& family, std::ostream* out) { *out << family.name; }

const FamilyCase kFamilies[] = {
    {"StableDiffusion",
     "tiny_sd",
     {"", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler",
      "LCMScheduler"}},
    {"StableDiffusionXl",
     "tiny_xl",
     {"", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler",
      "DDIMScheduler"}},
    {"StableDiffusion3",
     "tiny_sd3",
     {"", "FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
      "FlowMatchLCMScheduler"}},
    {"ZImage",
     "tiny_z_image",
     {"", "FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
      "FlowMatchLCMScheduler"},
     0},
    {.name = "Flux2Klein",
     .folder = "tiny_klein",
     .schedulers = {"", "FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler",
                    "UniPCMultistepScheduler", "FlowMatchLCMScheduler"},
     .edits = false,
     .preview_side = 4},
    {.name = "QwenImage",
     .folder = "tiny_qwen_image",
     .schedulers = {"", "FlowMatchHeunDiscreteScheduler", "DPMSolverMultistepScheduler",
                    "UniPCMultistepScheduler", "FlowMatchLCMScheduler"},
     .asks_for_negative = true},
};

class Families : public ::testing::TestWithParam<FamilyCase> {
 protected:
  static std::unique_ptr<Pipeline> load(const char* dtype = "fp32") {
    return load_tiny(kData / GetParam().folder, {.dtype = dtype, .quantize = "", .variant = ""});
  }

  // With guidance.
  static GenerateRequest request_of(const std::string& prompt, std::vector<std::uint64_t> seeds = {1}) {
    auto request = pipelines::request_of(prompt, std::move(seeds));
    if (GetParam().asks_for_negative) request.negative_prompt = "";
    return request;
  }

  // Rows of every kind, which all share a key: other prompts, seeds, guidance scales, numbers of steps and
  // samplers, from noise and from pictures.
  static std::vector<GenerateRequest> mixed_requests() {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 7; ++i) {
      auto request = vary(request_of("picture number " + std::to_string(i)), i, GetParam().schedulers);
      request.clip_skip = i % 2;
      if (!GetParam().edits) request.init_image = request.mask = nullptr;
      if (i % 2 == 1) request.negative_prompt = "blurry";
      requests.push_back(request);
    }
    return requests;
  }

  static void expect_rows_independent(Pipeline& pipeline) {
    pipelines::expect_rows_independent(pipeline, mixed_requests());
  }
};

TEST_P(Families, APictureDoesNotDependOnTheRowsBesideItInFp32) { expect_rows_independent(*load()); }
TEST_P(Families, APictureDoesNotDependOnTheRowsBesideItInBf16) { expect_rows_independent(*load("bf16")); }

class FamiliesWithLoras : public Families {
 protected:
  void SetUp() override {
    at::manual_seed(1);
    for (const char* name : {"ink", "oil"})
      write_lora(folder_.path() / (std::string(name) + ".safetensors"), kData / GetParam().folder);
  }
  std::unique_ptr<Pipeline> load_with_loras(const char* dtype = "fp32") const {
    return load_tiny(kData / GetParam().folder, {.dtype = dtype, .loras = folder_.path()});
  }

 private:
  TemporaryFolder folder_;
};

TEST_P(FamiliesWithLoras, RowsOfDifferentLorasShareABatch) {
  const std::vector<LoraChoice> kSets[] = {{{"ink", 1}}, {}, {{"oil", 0.7}}, {{"ink", -0.5}, {"oil", 1}}};
  for (const char* const dtype : {"fp32", "bf16"}) {
    const auto pipeline = load_with_loras(dtype);
    auto requests = mixed_requests();
    for (std::size_t i = 0; i < requests.size(); ++i) requests[i].loras = kSets[i % std::size(kSets)];
    EXPECT_EQ(first_step_key(*pipeline, requests[0]), first_step_key(*pipeline, requests[6]));
    pipelines::expect_rows_independent(*pipeline, requests);
  }
}

TEST_P(FamiliesWithLoras, APictureFollowsItsLoras) {
  const auto pipeline = load_with_loras();
  EXPECT_THAT(pipeline->info().loras, ::testing::ElementsAre("ink", "oil"));
  const auto drawn = [&](std::vector<LoraChoice> loras) {
    auto request = request_of("a fox");
    request.loras = std::move(loras);
    return picture(*pipeline, request).pixels;
  };
  const auto plain = drawn({}), ink = drawn({{"ink", 1}});
  EXPECT_EQ(plain, picture(*load(), request_of("a fox")).pixels);
  EXPECT_NE(ink, plain);
  EXPECT_NE(ink, drawn({{"oil", 1}}));
  EXPECT_NE(ink, drawn({{"ink", 0.5}}));
  EXPECT_EQ(plain, drawn({{"ink", 0}}));
  EXPECT_EQ(plain, drawn({}));  // whatever the cache of prompts has by now
}

TEST_P(FamiliesWithLoras, OtherNamesAreRefused) {
  const auto pipeline = load_with_loras();
  for (const LoraChoice& choice : {LoraChoice{"../ink", 1}, LoraChoice{"", 1}, LoraChoice{"ink", NAN}}) {
    auto request = request_of("a fox");
    request.loras = {choice};
    const auto resolved = pipeline->resolve(request);
    ASSERT_FALSE(resolved);
    EXPECT_EQ(resolved.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(resolved.error().field, "loras");
  }
}

TEST_P(Families, APictureDoesNotDependOnN) {
  const auto pipeline = load();
  EXPECT_EQ(picture(*pipeline, request_of("a fox", {1, 2}), 1).pixels,
            picture(*pipeline, request_of("a fox", {2}), 0).pixels);
}

TEST_P(Families, APictureFollowsWhatIsAsked) {
  const auto pipeline = load();
  const auto drawn = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    change(request);
    return picture(*pipeline, request).pixels;
  };
  const auto plain = drawn([](auto&) {});
  EXPECT_EQ(plain, drawn([](auto&) {}));
  EXPECT_NE(plain, drawn([](auto& r) { r.prompt = "an owl"; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.seeds = {2}; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.guidance_scale = 2.0; }));
  EXPECT_NE(plain, drawn([](auto& r) { r.num_inference_steps = 5; }));
}

TEST_P(Families, ReportsStepsAndPreviews) {
  const auto pipeline = load();
  auto request = request_of("a fox");
  request.scheduler = GetParam().schedulers[2];
  const auto row = begin(*pipeline, request);
  run_unit(*pipeline, *row);
  for (int step = 1; step <= row->steps(); ++step) {
    run_unit(*pipeline, *row);
    EXPECT_EQ(row->step(), step);
    const auto preview = pipeline->preview(*row);
    ASSERT_TRUE(preview);
    EXPECT_EQ(preview->width, GetParam().preview_side);
    EXPECT_EQ(preview->pixels.size(), static_cast<std::size_t>(preview->width * preview->width * 3));
  }
  EXPECT_EQ(row->next().kind, UnitKind::decode);
  EXPECT_FALSE(pipeline->take(*row));
}

TEST_P(Families, EstimatesMoreWorkForMore) {
  const auto pipeline = load();
  const auto cost = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    request.max_sequence_length = 32;  // or a tiny model's text is most of its work
    change(request);
    return pipeline->cost_flops(pipeline->resolve(request).value());
  };
  const double plain = cost([](auto&) {});
  EXPECT_GT(plain, 0);
  EXPECT_GT(cost([](auto& r) { r.seeds = {1, 2}; }), 1.5 * plain);
  EXPECT_GT(cost([](auto& r) { r.num_inference_steps = 8; }), plain);
  EXPECT_GT(cost([](auto& r) { r.width = 128; }), plain);
  EXPECT_GT(cost([](auto& r) { r.scheduler = GetParam().schedulers[1]; }), 0.9 * plain);
  EXPECT_LT(cost([](auto& r) { r.guidance_scale = GetParam().unguided; }), plain);
}

TEST_P(Families, GroupsRowsByWhatMayShareAForwardPass) {
  const auto pipeline = load();
  const auto key = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    change(request);
    return first_step_key(*pipeline, request);
  };
  const auto plain = key([](auto&) {});
  EXPECT_EQ(plain,
            key([](auto& r) { r.prompt = "an owl", r.num_inference_steps = 9, r.guidance_scale = 2; }));
  EXPECT_EQ(plain, key([](auto& r) { r.scheduler = GetParam().schedulers[1]; }));
  if (GetParam().edits) {
    EXPECT_EQ(plain, key([](auto& r) { start_from_picture(r, 64, 64, /*with_mask=*/true); }));
  }
  EXPECT_NE(plain, key([](auto& r) { r.guidance_scale = GetParam().unguided; }));
  EXPECT_NE(plain, key([](auto& r) { r.width = 80; }));
  EXPECT_NE(plain, key([](auto& r) { r.height = 80; }));
}

TEST_P(Families, DrawsFromAnyText) {
  const auto pipeline = load();
  for (const std::string& prompt :
       {std::string(), std::string("\xff\xfe\0\x80", 4), std::string(5000, 'x')}) {
    EXPECT_EQ(picture(*pipeline, request_of(prompt)).pixels.size(), 64u * 64 * 3);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(All, FamiliesWithLoras, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace diffused::pipelines
