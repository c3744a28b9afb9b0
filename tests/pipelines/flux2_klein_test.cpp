// What is FLUX.2 klein's own. That its pictures are Diffusers' is held by tests/parity/test_flux2_klein.py.
#include "pipelines/flux2_klein.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipelines/rows_independent.h"

namespace diffused::pipelines {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

class TinyKlein : public TinyModel {
 public:
  TinyKlein() : TinyModel("tiny_klein") {}
  std::unique_ptr<Pipeline> load(const std::string& dtype = "fp32") const {
    return load_tiny(path(), {.dtype = dtype, .variant = ""});
  }
};

GenerateRequest klein_request(const std::string& prompt, std::vector<std::uint64_t> seeds = {1}) {
  auto request = request_of(prompt, std::move(seeds));
  request.max_sequence_length = 48;
  return request;
}

std::vector<std::uint8_t> klein_drawn(Pipeline& pipeline,
                                      const std::function<void(GenerateRequest&)>& change) {
  auto request = klein_request("a fox");
  change(request);
  return picture(pipeline, request).pixels;
}

TEST(Flux2Klein, RowsWithReferencesOfOneSizeShareABatch) {
  const TinyKlein model;
  for (const char* dtype : {"fp32", "bf16"}) {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 4; ++i) {
      auto request = klein_request("picture " + std::to_string(i), {static_cast<std::uint64_t>(i)});
      // Both are cut to 64 by 80.
      request.references = {stripes(64 + i, 80 + 3 * i, 3), stripes(80, 64, 3)};
      request.num_inference_steps = 3 + i;
      requests.push_back(std::move(request));
    }
    expect_rows_independent(*model.load(dtype), requests);
  }
}

TEST(Flux2Klein, GroupsRowsByTheSizesOfTheirReferences) {
  const auto pipeline = TinyKlein().load();
  const auto key = [&](std::vector<std::shared_ptr<const Image>> references) {
    auto request = klein_request("a fox");
    request.references = std::move(references);
    return first_step_key(*pipeline, request);
  };
  const auto one = key({stripes(64, 80, 3)});
  EXPECT_EQ(one, key({stripes(70, 80, 3)}));
  EXPECT_NE(one, key({}));
  EXPECT_NE(one, key({stripes(80, 64, 3)}));
  EXPECT_NE(one, key({stripes(64, 80, 3), stripes(64, 80, 3)}));
}

TEST(Flux2Klein, GoesByItsReferencesInTheirOrder) {
  const auto pipeline = TinyKlein().load();
  const auto first = stripes(64, 64, 3), second = stripes(72, 64, 3);
  const auto with = [&](std::vector<std::shared_ptr<const Image>> references) {
    return klein_drawn(*pipeline, [&](auto& r) { r.references = std::move(references); });
  };
  const auto both = with({first, second});
  EXPECT_NE(both, with({second, first}));
  EXPECT_NE(both, with({first}));
  EXPECT_NE(with({first}), with({}));
}

TEST(Flux2Klein, TakesItsSizeAfterTheFirstReference) {
  const auto pipeline = TinyKlein().load();
  auto request = klein_request("a fox");
  request.width = request.height = std::nullopt;
  request.references = {stripes(100, 70, 3), stripes(64, 64, 3)};
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.width, 96);
  EXPECT_EQ(resolved.height, 64);
  request.references = {stripes(3000, 2000, 3)};
  EXPECT_EQ(pipeline->resolve(request)->width, 1248);  // of about a million pixels
  EXPECT_EQ(pipeline->resolve(request)->height, 832);
}

TEST(Flux2Klein, CostsMoreWithReferences) {
  const auto pipeline = TinyKlein().load();
  auto request = klein_request("a fox");
  const double plain = pipeline->cost_flops(pipeline->resolve(request).value());
  request.references = {stripes(128, 128, 3)};
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_GT(pipeline->cost_flops(resolved), 2 * plain);
}

TEST(Flux2Klein, GoesByThePictureThatIsRepainted) {
  const auto pipeline = TinyKlein().load();
  auto request = klein_request("a fox");
  request.width = request.height = std::nullopt;
  start_from_picture(request, 70, 100, /*with_mask=*/true);
  request.strength = request.guidance_scale = std::nullopt;
  const auto resolved = pipeline->resolve(request).value();
  EXPECT_EQ(resolved.width, 64);
  EXPECT_EQ(resolved.height, 96);
  EXPECT_EQ(resolved.strength, 0.8);
  EXPECT_EQ(resolved.guidance_scale, 8);
  // Its tokens count, and tell the calls apart that may be shared.
  auto plain = resolved;
  plain.init_image = plain.mask = nullptr;
  EXPECT_GT(pipeline->unit_flops(resolved), pipeline->unit_flops(pipeline->resolve(plain).value()));
  EXPECT_NE(first_step_key(*pipeline, resolved), first_step_key(*pipeline, plain));
  request.references = {stripes(64, 64, 3)};
  EXPECT_NE(first_step_key(*pipeline, pipeline->resolve(request).value()),
            first_step_key(*pipeline, resolved));
  request.references = {stripes(64, 64, 3), stripes(64, 64, 3)};
  EXPECT_EQ(pipeline->resolve(request).error().field, "references");
}

TEST(Flux2Klein, RefusesReferencesThatItCannotTake) {
  const auto pipeline = TinyKlein().load();
  const auto refused = [&](std::vector<std::shared_ptr<const Image>> references) {
    auto request = klein_request("a fox");
    request.references = std::move(references);
    const auto resolved = pipeline->resolve(request);
    if (resolved) return std::string("accepted");
    EXPECT_EQ(resolved.error().field, "references");
    return resolved.error().message;
  };
  EXPECT_EQ(refused({stripes(64, 64, 3)}), "accepted");
  EXPECT_THAT(refused({stripes(1, 1, 3)}), HasSubstr("64 pixels a side or more, not 1x1"));
  EXPECT_THAT(refused({stripes(64, 600, 3)}), HasSubstr("8 times"));
  EXPECT_THAT(refused(std::vector<std::shared_ptr<const Image>>(5, stripes(64, 64, 3))),
              HasSubstr("at most 4"));
  auto edit = klein_request("a fox");
  start_from_picture(edit, 64, 64);
  EXPECT_EQ(pipeline->resolve(edit).error().field, "image");
  const auto other = load_tiny();
  auto request = request_of("a fox");
  request.references = {stripes(64, 64, 3)};
  EXPECT_THAT(other->resolve(request).error().message, HasSubstr("takes no reference pictures"));
}

TEST(Flux2Klein, KnowsWhatTheDistilledOnesWereMadeFor) {
  TinyKlein model;
  EXPECT_EQ(model.load()->info().default_steps, 50);
  EXPECT_EQ(model.load()->info().default_guidance_scale, 4);
  const auto guided = klein_drawn(*model.load(), [](auto&) {});
  model.edit("model_index.json", [](json::object& index) { index["is_distilled"] = true; });
  const auto pipeline = model.load();
  EXPECT_EQ(pipeline->info().default_steps, 4);
  EXPECT_NE(klein_drawn(*pipeline, [](auto&) {}), guided);
  EXPECT_EQ(klein_drawn(*pipeline, [](auto& r) { r.guidance_scale = 9; }),
            klein_drawn(*pipeline, [](auto&) {}));
}

TEST(Flux2Klein, RefusesFoldersWhosePartsDoNotFit) {
  const auto with = [](const char* file, const char* key, const json::value& value) {
    TinyKlein model;
    model.edit(file, [&](json::object& config) { config[key] = value; });
    return model.refusal().message;
  };
  EXPECT_THAT(with("transformer/config.json", "joint_attention_dim", 31), HasSubstr("text_encoder gives 96"));
  EXPECT_THAT(with("transformer/config.json", "in_channels", 4), HasSubstr("have 16 channels"));
  EXPECT_THAT(with("transformer/config.json", "guidance_embeds", true), HasSubstr("guidance_embeds"));
  EXPECT_THAT(with("text_encoder/config.json", "num_hidden_layers", 26), HasSubstr("too few"));
  EXPECT_THAT(with("model_index.json", "vae", {"diffusers", "AutoencoderKL"}), HasSubstr("have 4 channels"));
}

}  // namespace
}  // namespace diffused::pipelines
