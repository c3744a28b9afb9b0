// What is Qwen-Image's own. That its pictures are Diffusers' is held by tests/parity/test_qwen_image.py.
#include "pipelines/qwen_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipelines/rows_independent.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

class TinyQwenImage : public TinyModel {
 public:
  TinyQwenImage() : TinyModel("tiny_qwen_image") {}
  std::unique_ptr<Pipeline> load(const std::string& dtype = "fp32") const {
    return load_tiny(path(), {.dtype = dtype, .variant = ""});
  }
};

std::vector<std::uint8_t> qwen_image_drawn(Pipeline& pipeline,
                                           const std::function<void(GenerateRequest&)>& change) {
  auto request = request_of("a fox");
  change(request);
  return picture(pipeline, request).pixels;
}

TEST(QwenImage, RowsOfTextsOfAnyLengthShareABatch) {
  const TinyQwenImage model;
  for (const char* dtype : {"fp32", "bf16"}) {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 5; ++i) {
      std::string prompt;
      for (int word = 0; word < 20 * i; ++word) prompt += "fox ";
      auto request = request_of(prompt, {static_cast<std::uint64_t>(i)});
      if (i > 0) request.negative_prompt = std::string(30 * i, 'x');
      request.num_inference_steps = 3 + i;
      requests.push_back(std::move(request));
    }
    requests.erase(requests.begin());  // without guidance, which no call shares with the others
    expect_rows_independent(*model.load(dtype), requests);
  }
}

TEST(QwenImage, GuidesOnlyWithANegativePrompt) {
  const auto pipeline = TinyQwenImage().load();
  const auto plain = qwen_image_drawn(*pipeline, [](auto&) {});
  EXPECT_EQ(plain, qwen_image_drawn(*pipeline, [](auto& r) { r.true_cfg_scale = 9; }));
  EXPECT_EQ(plain,
            qwen_image_drawn(*pipeline, [](auto& r) { r.negative_prompt = "wet", r.true_cfg_scale = 1; }));
  const auto guided =
      qwen_image_drawn(*pipeline, [](auto& r) { r.negative_prompt = "", r.true_cfg_scale = 3; });
  EXPECT_NE(guided, plain);
  // The other name of the scale, which gives way.
  EXPECT_EQ(guided,
            qwen_image_drawn(*pipeline, [](auto& r) { r.negative_prompt = "", r.guidance_scale = 3; }));
  EXPECT_EQ(guided, qwen_image_drawn(*pipeline, [](auto& r) {
              r.negative_prompt = "", r.guidance_scale = 7, r.true_cfg_scale = 3;
            }));
}

TEST(QwenImage, WeighsWordsWhereItIsAsked) {
  const auto pipeline = TinyQwenImage().load();
  const auto weighted = [&](const char* prompt) {
    return qwen_image_drawn(*pipeline, [&](auto& r) { r.prompt = prompt, r.prompt_syntax = "a1111"; });
  };
  EXPECT_EQ(weighted("a fox"), qwen_image_drawn(*pipeline, [](auto&) {}));
  EXPECT_NE(weighted("a (fox:1.5)"), weighted("a fox"));
}

TEST(QwenImage, DescribesItselfAndFillsInTheDefaultsOfDiffusers) {
  const auto pipeline = TinyQwenImage().load();
  const PipelineInfo& info = pipeline->info();
  EXPECT_EQ(info.class_name, "QwenImagePipeline");
  EXPECT_EQ(info.size_multiple, 16);
  EXPECT_EQ(info.default_width, 1024);
  EXPECT_TRUE(info.image_to_image && info.inpaint);
  GenerateRequest request;
  request.seeds = {1};
  start_from_picture(request, 64, 64);
  request.strength.reset();
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.num_inference_steps, 50);
  EXPECT_EQ(resolved.true_cfg_scale, 4);
  EXPECT_EQ(resolved.strength, 0.6);
  EXPECT_FALSE(resolved.negative_prompt);
  EXPECT_EQ(resolved.max_sequence_length, 512);
}

TEST(QwenImage, RefusesWhatItCannotDoByField) {
  const auto pipeline = TinyQwenImage().load();
  const auto refused = [&](const std::function<void(GenerateRequest&)>& change) {
    auto request = request_of("a fox");
    change(request);
    const auto resolved = pipeline->resolve(request);
    return resolved ? "accepted" : resolved.error().field;
  };
  EXPECT_EQ(refused([](auto&) {}), "accepted");
  for (const int side : {8, 72, 4112}) EXPECT_EQ(refused([side](auto& r) { r.width = side; }), "width");
  EXPECT_EQ(refused([](auto& r) { r.true_cfg_scale = NAN; }), "true_cfg_scale");
  for (const int length : {0, 1025})
    EXPECT_EQ(refused([length](auto& r) { r.max_sequence_length = length; }), "max_sequence_length");
}

TEST(QwenImage, RefusesFoldersWhosePartsDoNotFit) {
  const auto with = [](const char* file, const char* key, const json::value& value) {
    TinyQwenImage model;
    model.edit(file, [&](json::object& config) { config[key] = value; });
    return model.refusal().message;
  };
  EXPECT_THAT(with("transformer/config.json", "joint_attention_dim", 31), HasSubstr("text_encoder gives 32"));
  EXPECT_THAT(with("transformer/config.json", "in_channels", 4),
              HasSubstr("packed latents have 16 channels"));
  EXPECT_THAT(with("transformer/config.json", "num_layers", 1), HasSubstr("transformer_blocks.1."));
  EXPECT_THAT(with("transformer/config.json", "guidance_embeds", true), HasSubstr("guidance_embeds"));
  EXPECT_THAT(with("text_encoder/config.json", "text_config", {{"hidden_size", 30}}),
              HasSubstr("num_attention_heads"));
  EXPECT_THAT(with("vae/config.json", "input_channels", 4), HasSubstr("input_channels must be 3"));
  EXPECT_THAT(with("model_index.json", "text_encoder", {"transformers", "Qwen3Model"}), HasSubstr("only"));
  EXPECT_THAT(with("model_index.json", "text_encoder", {nullptr, nullptr}), HasSubstr("text_encoder"));
  TinyQwenImage without;
  std::filesystem::remove_all(without.path() / "tokenizer");
  EXPECT_THAT(without.refusal().message, HasSubstr("tokenizer"));
}

// The tiny folder as one of Qwen-Image-Edit, whose encoder has eyes anyway.
class TinyQwenEdit : public TinyQwenImage {
 public:
  explicit TinyQwenEdit(const char* class_name = "QwenImageEditPlusPipeline") {
    edit("model_index.json", [&](json::object& index) { index["_class_name"] = class_name; });
    edit("text_encoder/config.json", [](json::object& config) { config["image_token_id"] = kImageToken; });
    std::filesystem::create_directory(path() / "processor");
    write_file(path() / "processor/preprocessor_config.json", R"({"min_pixels": 3136, "max_pixels": 12544})");
  }

 private:
  static constexpr int kImageToken = 441;  // <|image_pad|> of the tiny tokenizer
};

GenerateRequest edit_request(std::vector<std::shared_ptr<const Image>> references) {
  auto request = request_of("a fox");
  request.references = std::move(references);
  request.num_inference_steps = 2;
  return request;
}

TEST(QwenImageEdit, RowsWithReferencesOfOneSizeShareABatch) {
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 3; ++i) {
    auto request = edit_request({stripes(64 + 2 * i, 64 + 2 * i, 3)});
    request.seeds = {static_cast<std::uint64_t>(i)};
    request.num_inference_steps = 2 + i;
    requests.push_back(std::move(request));
  }
  const auto pipeline = TinyQwenEdit().load();
  EXPECT_EQ(first_step_key(*pipeline, requests[0]), first_step_key(*pipeline, requests[1]));
  EXPECT_NE(first_step_key(*pipeline, requests[0]),
            first_step_key(*pipeline, edit_request({stripes(64, 90, 3)})));
  expect_rows_independent(*pipeline, requests);
}

TEST(QwenImageEdit, GoesByItsReferencesInTheirOrder) {
  const auto pipeline = TinyQwenEdit().load();
  const auto first = stripes(64, 64, 3), second = stripes(72, 64, 3);
  const auto with = [&](std::vector<std::shared_ptr<const Image>> references) {
    return picture(*pipeline, edit_request(std::move(references))).pixels;
  };
  const auto both = with({first, second});
  EXPECT_EQ(both, with({first, second}));
  EXPECT_NE(both, with({second, first}));
  EXPECT_NE(both, with({first}));
  // Another picture of the same size is another prompt too.
  EXPECT_NE(with({first}), with({stripes(64, 66, 3)}));
}

TEST(QwenImageEdit, TakesItsSizeAfterTheLastReference) {
  const auto pipeline = TinyQwenEdit().load();
  auto request = edit_request({stripes(64, 64, 3), stripes(90, 60, 3)});
  request.width = request.height = std::nullopt;
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.width, 1248);
  EXPECT_EQ(resolved.height, 832);
}

TEST(QwenImageEdit, CostsMoreWithReferences) {
  const auto pipeline = TinyQwenEdit().load();
  const auto cost = [&](std::vector<std::shared_ptr<const Image>> references) {
    return pipeline->cost_flops(pipeline->resolve(edit_request(std::move(references))).value());
  };
  const auto one = stripes(64, 64, 3);
  EXPECT_GT(cost({one, one}), 1.5 * cost({one}));
}

TEST(QwenImageEdit, RefusesWhatItCannotTake) {
  const auto plus = TinyQwenEdit().load(), edit = TinyQwenEdit("QwenImageEditPipeline").load();
  const auto refused = [](Pipeline& pipeline, const GenerateRequest& request) {
    const auto resolved = pipeline.resolve(request);
    return resolved ? "accepted" : resolved.error().field + ": " + resolved.error().message;
  };
  const auto one = stripes(64, 64, 3);
  EXPECT_EQ(refused(*plus, edit_request({one, one, one})), "accepted");
  EXPECT_THAT(refused(*plus, edit_request({one, one, one, one})), HasSubstr("at most 3"));
  EXPECT_THAT(refused(*edit, edit_request({one, one})), HasSubstr("at most 1"));
  EXPECT_THAT(refused(*edit, edit_request({})), HasSubstr("references: this model changes pictures"));
  EXPECT_THAT(refused(*edit, edit_request({stripes(1, 1, 3)})),
              HasSubstr("16 pixels a side or more, not 1x1"));
  EXPECT_THAT(refused(*edit, edit_request({stripes(16, 3300, 3)})), HasSubstr("200 times as long"));
  auto request = edit_request({one});
  request.prompt = "a <|image_pad|>";
  EXPECT_THAT(refused(*edit, request), HasSubstr("prompt: a prompt must not name"));
  request = edit_request({one});
  start_from_picture(request, 64, 64);
  EXPECT_THAT(refused(*edit, request), HasSubstr("image: "));
}

TEST(QwenImageEdit, RefusesFoldersThatLackAPart) {
  const auto with = [](const char* file, const char* key, const json::value& value) {
    TinyQwenEdit model;
    model.edit(file, [&](json::object& config) { config[key] = value; });
    return model.refusal().message;
  };
  EXPECT_THAT(with("processor/preprocessor_config.json", "max_pixels", 1),
              HasSubstr("preprocessor_config.json"));
  EXPECT_THAT(with("processor/preprocessor_config.json", "image_std", json::array{1, 0, 1}),
              HasSubstr("preprocessor_config.json"));
  EXPECT_THAT(with("text_encoder/config.json", "vision_config", {{"out_hidden_size", 31}}),
              HasSubstr("vision_config"));
  TinyQwenEdit without;
  std::filesystem::remove_all(without.path() / "processor");
  EXPECT_THAT(without.refusal().message, HasSubstr("processor/preprocessor_config.json"));
}

}  // namespace
}  // namespace diffused::pipelines
