// What is Z-Image's own. That its pictures are Diffusers' is held by tests/parity/test_z_image.py.
#include "pipelines/z_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipelines/rows_independent.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

class TinyZImage : public TinyModel {
 public:
  TinyZImage() : TinyModel("tiny_z_image") {}
  std::unique_ptr<Pipeline> load(const std::string& dtype = "fp32") const {
    return load_tiny(path(), {.dtype = dtype, .variant = ""});
  }
};

std::vector<std::uint8_t> z_image_drawn(Pipeline& pipeline,
                                        const std::function<void(GenerateRequest&)>& change) {
  auto request = request_of("a fox");
  change(request);
  return picture(pipeline, request).pixels;
}

TEST(ZImage, RowsOfTextsOfAnyLengthShareABatch) {
  const TinyZImage model;
  for (const char* dtype : {"fp32", "bf16"}) {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 5; ++i) {
      std::string prompt;
      for (int word = 0; word < 20 * i; ++word) prompt += "fox ";
      auto request = request_of(prompt, {static_cast<std::uint64_t>(i)});
      if (i % 2 == 1) request.negative_prompt = std::string(100, 'x');
      request.num_inference_steps = 3 + i;
      requests.push_back(std::move(request));
    }
    expect_rows_independent(*model.load(dtype), requests);
  }
}

TEST(ZImage, GuidesFromZeroOn) {
  const auto pipeline = TinyZImage().load();
  const auto unguided = z_image_drawn(*pipeline, [](auto& r) { r.guidance_scale = 0; });
  EXPECT_EQ(unguided,
            z_image_drawn(*pipeline, [](auto& r) { r.guidance_scale = 0, r.negative_prompt = "wet"; }));
  EXPECT_EQ(unguided, z_image_drawn(*pipeline, [](auto& r) { r.guidance_scale = -1; }));
  EXPECT_NE(unguided, z_image_drawn(*pipeline, [](auto& r) { r.guidance_scale = 0.5; }));
  EXPECT_EQ(z_image_drawn(*pipeline, [](auto&) {}),
            z_image_drawn(*pipeline, [](auto& r) { r.negative_prompt = ""; }));
}

TEST(ZImage, GuidesNoFurtherThanItIsAsked) {
  const auto pipeline = TinyZImage().load();
  const auto drawn = [&](double normalization, double truncation) {
    return z_image_drawn(*pipeline, [&](auto& r) {
      r.cfg_normalization = normalization;
      r.cfg_truncation = truncation;
    });
  };
  const auto plain = z_image_drawn(*pipeline, [](auto&) {});
  EXPECT_EQ(drawn(0, 1), plain);
  EXPECT_NE(drawn(0.5, 1), plain);
  EXPECT_NE(drawn(0, 0.3), plain);
  // Steps without guidance are other units, of half the work.
  auto request = request_of("a fox");
  request.cfg_truncation = 0.3;
  const auto row = begin(*pipeline, request);
  run_unit(*pipeline, *row);
  const Unit first = row->next();
  Unit last = first;
  for (; row->next().kind == UnitKind::step; run_unit(*pipeline, *row)) last = row->next();
  EXPECT_NE(first.key, last.key);
  EXPECT_DOUBLE_EQ(first.cost_flops, 2 * last.cost_flops);
}

TEST(ZImage, WeighsWordsWhereItIsAsked) {
  const auto pipeline = TinyZImage().load();
  const auto weighted = [&](const char* prompt) {
    return z_image_drawn(*pipeline, [&](auto& r) { r.prompt = prompt, r.prompt_syntax = "a1111"; });
  };
  EXPECT_EQ(weighted("a fox"), z_image_drawn(*pipeline, [](auto&) {}));
  EXPECT_EQ(weighted("a \\(fox\\)"), z_image_drawn(*pipeline, [](auto& r) { r.prompt = "a (fox)"; }));
  EXPECT_NE(weighted("a (fox:1.5)"), weighted("a fox"));
}

TEST(ZImage, DescribesItselfAndFillsInTheDefaultsOfDiffusers) {
  const auto pipeline = TinyZImage().load();
  const PipelineInfo& info = pipeline->info();
  EXPECT_EQ(info.class_name, "ZImagePipeline");
  EXPECT_EQ(info.size_multiple, 16);
  EXPECT_EQ(info.max_side, 32 * 16);
  GenerateRequest request;
  request.seeds = {1};
  start_from_picture(request, 64, 64);
  request.strength.reset();
  auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.num_inference_steps, 50);
  EXPECT_EQ(resolved.guidance_scale, 5);
  EXPECT_EQ(resolved.strength, 0.6);
  EXPECT_EQ(resolved.negative_prompt, "");
  EXPECT_EQ(resolved.max_sequence_length, 224);  // as far as the positions of the tiny network reach
  start_from_picture(request, 64, 64, /*with_mask=*/true);
  request.strength.reset();
  EXPECT_EQ(pipeline->resolve(request)->strength, 1);
}

TEST(ZImage, RefusesWhatItCannotDoByField) {
  const auto pipeline = TinyZImage().load();
  const auto refused = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    change(request);
    const auto resolved = pipeline->resolve(request);
    return resolved ? "accepted" : resolved.error().field;
  };
  EXPECT_EQ(refused([](auto&) {}), "accepted");
  for (const int side : {8, 72, 528}) EXPECT_EQ(refused([side](auto& r) { r.width = side; }), "width");
  EXPECT_EQ(refused([](auto& r) { r.cfg_normalization = -1; }), "cfg_normalization");
  EXPECT_EQ(refused([](auto& r) { r.cfg_truncation = NAN; }), "cfg_truncation");
  for (const int length : {0, 225})
    EXPECT_EQ(refused([length](auto& r) { r.max_sequence_length = length; }), "max_sequence_length");
}

TEST(ZImage, RefusesFoldersWhosePartsDoNotFit) {
  const auto refusal = [](const char* file, const std::function<void(json::object&)>& change) {
    TinyZImage model;
    model.edit(file, change);
    return model.refusal().message;
  };
  const auto with = [&](const char* file, const char* key, const json::value& value) {
    return refusal(file, [&](json::object& config) { config[key] = value; });
  };
  EXPECT_THAT(with("transformer/config.json", "cap_feat_dim", 31), HasSubstr("text_encoder gives 32"));
  EXPECT_THAT(with("transformer/config.json", "in_channels", 4), HasSubstr("have 16 channels"));
  EXPECT_THAT(with("transformer/config.json", "n_layers", 1), HasSubstr("layers.1."));
  EXPECT_THAT(with("text_encoder/config.json", "num_hidden_layers", 1), HasSubstr("too few"));
  EXPECT_THAT(with("text_encoder/config.json", "vocab_size", 20), HasSubstr("embed_tokens"));
  EXPECT_THAT(with("model_index.json", "text_encoder", {"transformers", "Qwen2Model"}), HasSubstr("only"));
  EXPECT_THAT(with("model_index.json", "transformer", {"diffusers", "SD3Transformer2DModel"}),
              HasSubstr("only"));
}

}  // namespace
}  // namespace diffused::pipelines
