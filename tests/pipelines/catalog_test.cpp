// What a folder that cannot be served says.
#include "pipelines/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/linear.h"
#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using ::testing::HasSubstr;

TEST(LoadPipeline, SaysThatAFolderIsNoModel) {
  const TemporaryFolder folder;
  const auto error = [](const fs::path& path) { return load_pipeline(path, {}).error(); };
  EXPECT_EQ(error(folder.path() / "absent").code, ErrorCode::not_found);
  EXPECT_THAT(error(folder.path() / "absent").message, HasSubstr("no such folder"));
  EXPECT_THAT(error(folder.path()).message, HasSubstr("model_index.json: missing"));
  write_file(folder.path() / "model_index.json", "{\"_class_name\": ");
  EXPECT_THAT(error(folder.path()).message, HasSubstr("is not JSON"));
  write_file(folder.path() / "model_index.json", "{}");
  EXPECT_THAT(error(folder.path()).message, HasSubstr("has no '_class_name'"));
  write_file(folder.path() / "model_index.json", R"({"_class_name": "AudioLDMPipeline"})");
  EXPECT_THAT(error(folder.path()).message,
              HasSubstr("pipeline class 'AudioLDMPipeline' is not one of those served"));
  EXPECT_EQ(error(folder.path()).code, ErrorCode::unsupported);
}

TEST(LoadPipeline, TakesTheClassesOfEditsForThoseOfText) {
  struct Alias {
    const char* folder;
    std::vector<const char*> classes;
  };
  const Alias kAliases[] = {
      {"tiny_sd", {"StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"}},
      {"tiny_xl", {"StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}},
      {"tiny_sd3", {"StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}},
      {"tiny_z_image", {"ZImageImg2ImgPipeline", "ZImageInpaintPipeline"}},
      {"tiny_qwen_image", {"QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"}},
      {"tiny_klein", {"Flux2KleinInpaintPipeline"}},
  };
  for (const Alias& alias : kAliases) {
    const auto plain = picture(*load_tiny(kData / alias.folder), request_of("a fox")).pixels;
    for (const char* const name : alias.classes) {
      TinyModel model(alias.folder);
      model.edit("model_index.json", [&](json::object& index) { index["_class_name"] = name; });
      const auto pipeline = load_tiny(model.path());
      EXPECT_EQ(pipeline->info().class_name, name);
      EXPECT_EQ(picture(*pipeline, request_of("a fox")).pixels, plain) << name;
    }
  }
}

TEST(DescribePipeline, SaysWhatALoadedModelWould) {
  for (const char* const name : {"tiny_sd", "tiny_xl", "tiny_sd3", "tiny_z_image", "tiny_klein"}) {
    const PipelineInfo loaded = load_tiny(kData / name)->info();
    const auto described = describe_pipeline(kData / name, {.dtype = "fp32"});
    ASSERT_TRUE(described) << described.error().message;
    EXPECT_EQ(described->default_steps, loaded.default_steps) << name;
    EXPECT_EQ(described->default_guidance_scale, loaded.default_guidance_scale) << name;
    EXPECT_EQ(described->default_width, loaded.default_width) << name;
    EXPECT_EQ(described->schedulers, loaded.schedulers) << name;
    EXPECT_EQ(described->parameters, loaded.parameters) << name;
    EXPECT_EQ(described->references_max, loaded.references_max) << name;
  }
}

TEST(DescribePipeline, RefusesWhatLoadingWould) {
  TinyModel model("tiny_sd");
  model.edit("unet/config.json", [](json::object& config) { config["cross_attention_dim"] = 48; });
  const auto described = describe_pipeline(model.path(), {});
  ASSERT_FALSE(described);
  EXPECT_EQ(described.error().message, load_pipeline(model.path(), {}).error().message);
}

TEST(LoadPipeline, KnowsTheDefaultsOfLatentConsistency) {
  TinyModel model("tiny_sd");
  model.edit("model_index.json",
             [](json::object& index) { index["_class_name"] = "LatentConsistencyModelPipeline"; });
  const auto pipeline = load_tiny(model.path());
  EXPECT_EQ(pipeline->info().default_steps, 4);
  EXPECT_EQ(pipeline->info().default_guidance_scale, 8.5);
}

TEST(LoadPipeline, RefusesOtherClassesAndLibraries) {
  TinyModel model;
  model.edit("model_index.json", [](json::object& index) {
    index["vae"] = {"diffusers", "AutoencoderTiny"};
  });
  EXPECT_THAT(model.refusal().message, HasSubstr("component 'vae' is a diffusers.AutoencoderTiny"));
  EXPECT_EQ(model.refusal().code, ErrorCode::unsupported);
  model.edit("model_index.json", [](json::object& index) { index["vae"] = {"my_code", "AutoencoderKL"}; });
  EXPECT_THAT(model.refusal().message, HasSubstr("component 'vae' is a my_code.AutoencoderKL"));
  model.edit("model_index.json", [](json::object& index) { index["vae"] = {nullptr, nullptr}; });
  EXPECT_THAT(model.refusal().message, HasSubstr("names no component 'vae'"));
  model.edit("model_index.json", [](json::object& index) {
    index["vae"] = {"diffusers", "AutoencoderKL"};
    index["scheduler"] = {"diffusers", "NoSuchScheduler"};
  });
  EXPECT_THAT(model.refusal().message,
              HasSubstr("scheduler 'NoSuchScheduler' is not one of those that this model can have"));
  // Known, but no sampler of flows.
  model.edit("model_index.json", [](json::object& index) {
    index["scheduler"] = {"diffusers", "EulerDiscreteScheduler"};
  });
  EXPECT_THAT(model.refusal().message,
              HasSubstr("scheduler 'EulerDiscreteScheduler' is not one of those that this model can have"));
  EXPECT_EQ(model.refusal().code, ErrorCode::unsupported);
}

TEST(LoadPipeline, NamesTheFileThatIsMissingOrHalfDownloaded) {
  for (const char* component :
       {"transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_3"}) {
    TinyModel model;
    fs::remove_all(model.path() / component);
    EXPECT_THAT(model.refusal().message, HasSubstr((model.path() / component).string()));
    EXPECT_EQ(model.refusal().code, ErrorCode::not_found) << component;
  }
  TinyModel model;
  const fs::path weights = model.path() / "vae/diffusion_pytorch_model.safetensors";
  write_file(weights, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  EXPECT_THAT(model.refusal().message, HasSubstr(weights.string() + ": half-downloaded: a git-lfs pointer"));
  fs::remove(weights);
  EXPECT_THAT(model.refusal().message, HasSubstr("vae: half-downloaded"));
}

TEST(LoadPipeline, NamesTheTensorThatDoesNotFitTheConfig) {
  TinyModel model;
  model.edit("transformer/config.json", [](json::object& config) { config["num_layers"] = 2; });
  EXPECT_THAT(model.refusal().message, HasSubstr("tensor 'transformer_blocks."));
  model.edit("transformer/config.json", [](json::object& config) { config["num_layers"] = 4; });
  EXPECT_THAT(model.refusal().message, HasSubstr("tensor 'transformer_blocks."));
  EXPECT_EQ(model.refusal().code, ErrorCode::data_loss);
}

TEST(LoadPipeline, RefusesConfigsThatContradictEachOther) {
  const auto refusal = [](const char* file, const char* key, const json::value& value) {
    TinyModel model;
    model.edit(file, [&](json::object& config) { config[key] = value; });
    return model.refusal().message;
  };
  const char* const transformer = "transformer/config.json";
  EXPECT_THAT(refusal(transformer, "pooled_projection_dim", 8), HasSubstr("pooled_projection_dim is 8"));
  EXPECT_THAT(refusal(transformer, "joint_attention_dim", 8), HasSubstr("joint_attention_dim is 8"));
  EXPECT_THAT(refusal(transformer, "in_channels", 33), HasSubstr("in_channels 33"));
  EXPECT_THAT(refusal(transformer, "num_layers", "3"), HasSubstr(std::string(transformer) + ": "));
  EXPECT_THAT(refusal("vae/config.json", "in_channels", 4), HasSubstr("must be 3"));
  EXPECT_THAT(refusal("tokenizer/tokenizer_config.json", "model_max_length", 78),
              HasSubstr("model_max_length 78"));
  EXPECT_THAT(refusal("scheduler/scheduler_config.json", "shift", "x"),
              HasSubstr("'shift' must be a number"));
}

TEST(LoadPipeline, RefusesDefaultsOutOfRange) {
  for (const char* text : {R"({"num_inference_steps": 0})", R"({"num_inference_steps": "28"})",
                           R"({"guidance_scale": "7"})", R"({"guidance_scale": null})", "[]"}) {
    TinyModel model;
    write_file(model.path() / "diffused.json", text);
    EXPECT_THAT(model.refusal().message, HasSubstr("diffused.json")) << text;
  }
}

TEST(LoadPipeline, TakesTheDefaultsItIsGivenBeforeTheFolders) {
  TinyModel model;
  write_file(model.path() / "diffused.json", R"({"num_inference_steps": 9, "guidance_scale": 3})");
  const auto with = [&](const char* text) {
    const LoadOptions options{.dtype = "fp32", .defaults = parse_model_defaults(text).value()};
    GenerateRequest request;
    request.seeds = {1};
    start_from_picture(request, 64, 64);
    const auto resolved = load_tiny(model.path(), options)->resolve(request).value();
    return std::pair(*resolved.num_inference_steps, *resolved.guidance_scale);
  };
  EXPECT_EQ(with("steps=8,guidance=0"), std::pair(8, 0.0));
  EXPECT_EQ(with("guidance=1.5"), std::pair(9, 1.5));
  EXPECT_EQ(with("steps=2"), std::pair(2, 3.0));
}

TEST(ModelDefaults, AreReadAsTheyAreWritten) {
  const auto refused = [](const char* text) {
    const auto defaults = parse_model_defaults(text);
    return defaults ? "accepted" : defaults.error().field;
  };
  EXPECT_EQ(refused("steps=1000,guidance=-1e1"), "accepted");
  for (const char* const text :
       {"", "steps", "steps=", "steps=0", "steps=1001", "steps=8x", "steps=8,steps=8", "guidance=nan",
        "guidance=one", "guidance=1,,steps=2", "cfg=1"})
    EXPECT_EQ(refused(text), "defaults") << text;
}

TEST(LoadPipeline, QuantizesOnlyWhereTheMachineCanAndSaysWhyNot) {
  const TinyModel model;
  EXPECT_EQ(model.refusal({.dtype = "fp32", .quantize = "int4", .variant = ""}).field, "quantize");
  const LoadOptions int8{.dtype = "fp32", .quantize = "int8", .variant = ""};
  const std::string why_not = nn::why_no_int8(at::kFloat, at::kCPU);
  if (!why_not.empty()) {
    EXPECT_EQ(model.refusal(int8).code, ErrorCode::unsupported);
    EXPECT_THAT(model.refusal(int8).message, HasSubstr(why_not));
    return;
  }
  const auto pipeline = load_tiny(model.path(), int8), plain = load_tiny(model.path());
  EXPECT_EQ(pipeline->info().dtype, "fp32+int8");
  const auto quantized = picture(*pipeline, request_of("a fox")).pixels;
  const auto exact = picture(*plain, request_of("a fox")).pixels;
  EXPECT_NE(quantized, exact);
  double sum = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) sum += std::abs(quantized[i] - exact[i]);
  EXPECT_LT(sum / static_cast<double>(exact.size()), 5);
}

TEST(LoadPipeline, RefusesUnknownDtypesAndDevices) {
  TinyModel model;
  EXPECT_EQ(model.refusal({.dtype = "fp64", .variant = ""}).field, "dtype");
  EXPECT_EQ(model.refusal({.dtype = "", .device = "tpu", .variant = ""}).field, "device");
}

}  // namespace
}  // namespace diffused::pipelines
