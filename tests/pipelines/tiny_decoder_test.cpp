// Decoders of TAESD's kind in models. tests/parity/test_tiny_decoders.py compares their pictures with
// Diffusers'.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/tiny_decoder.h"
#include "pipelines/rows_independent.h"
#include "pipelines/tiny_decoder_file.h"
#include "support/tiny_decoders.h"

namespace diffused::pipelines {
namespace {

using test::TinyDecoderTensors;
using ::testing::HasSubstr;

// A folder of decoders, and a model that is loaded with it.
class TinyDecoders : public testing::Test {
 protected:
  void put(const std::string& file, const test::NamedTensors& tensors) {
    write_file(folder_.path() / file, test::safetensors_file(tensors));
  }
  LoadOptions options() const {
    LoadOptions options{.dtype = "fp32"};
    options.decoders = folder_.path();
    return options;
  }
  std::unique_ptr<Pipeline> load(const char* model = "tiny_sd3") {
    return load_tiny(kData / model, options());
  }
  Error refusal(const char* model = "tiny_sd3") { return TinyModel(model).refusal(options()); }

  TemporaryFolder folder_;
};

// Of the latents of a tiny model: their channels, and levels that give its pixels.
TinyDecoderTensors fitting(const models::LatentFormat& format, std::int64_t patch = 1) {
  TinyDecoderTensors tensors;
  tensors.latent_channels = format.channels / (patch * patch);
  tensors.blocks.clear();
  for (std::int64_t pixels = 1; pixels <= format.pixels_per_latent / patch; pixels *= 2)
    tensors.blocks.push_back(1);
  return tensors;
}

constexpr models::LatentFormat kSd3Format{.channels = 16, .pixels_per_latent = 8};

GenerateRequest tiny(GenerateRequest request) {
  request.decoder = kTinyDecoder;
  return request;
}

TEST_F(TinyDecoders, DecodeForThoseWhoAsk) {
  const auto plain = load_tiny();
  EXPECT_TRUE(plain->info().decoders.empty());
  put("taesd3.safetensors", fitting(kSd3Format).tensors());
  const auto pipeline = load();
  EXPECT_EQ(pipeline->info().decoders, std::vector<std::string>{kTinyDecoder});
  const GenerateRequest request = request_of("a fox");
  const Image full = picture(*plain, request);
  EXPECT_EQ(picture(*pipeline, request).pixels, full.pixels);
  const Image small = picture(*pipeline, tiny(request));
  EXPECT_EQ(small.width, full.width);
  EXPECT_EQ(small.height, full.height);
  EXPECT_NE(small.pixels, full.pixels);
  EXPECT_GT(pipeline->info().weight_bytes(), plain->info().weight_bytes());
}

TEST_F(TinyDecoders, KeepRowsIndependentAndEditsWithTheirOwnEncoder) {
  put("taesd3_decoder.safetensors", fitting(kSd3Format).tensors());
  const auto pipeline = load();
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(request_of("a fox", {static_cast<std::uint64_t>(i)}));
    if (i % 2 == 1) start_from_picture(requests.back(), 40, 64, /*with_mask=*/i == 3);
    if (i < 3) requests.back().decoder = kTinyDecoder;
  }
  expect_rows_independent(*pipeline, requests);
}

TEST_F(TinyDecoders, MakePreviewsInFullSize) {
  put("taesd3.safetensors", fitting(kSd3Format).tensors());
  const auto pipeline = load();
  for (const GenerateRequest& request : {request_of("a fox"), tiny(request_of("a fox"))}) {
    const auto row = begin(*pipeline, request);
    run_unit(*pipeline, *row);
    run_unit(*pipeline, *row);
    const Image preview = pipeline->preview(*row).value();
    EXPECT_EQ(preview.width, 64);
    EXPECT_EQ(preview.height, 64);
  }
}

TEST_F(TinyDecoders, AreReadByThePublishedNamesToo) {
  const auto tensors = fitting(kSd3Format).tensors();
  put("taesd3.safetensors", tensors);
  const Image expected = picture(*load(), tiny(request_of("a fox")));
  std::filesystem::remove(folder_.path() / "taesd3.safetensors");
  test::NamedTensors published;
  for (const auto& [name, tensor] : tensors) {
    const std::string rest = name.substr(std::string("decoder.layers.").size());
    const std::size_t dot = rest.find('.');
    published.emplace_back(std::to_string(std::stoi(rest.substr(0, dot)) + 1) + rest.substr(dot), tensor);
  }
  put("taesd3_decoder.safetensors", published);
  EXPECT_EQ(picture(*load(), tiny(request_of("a fox"))).pixels, expected.pixels);
}

// FLUX.2's latents are packed four to one, and its decoder's first blocks have a pool.
TEST_F(TinyDecoders, UnpackTheLatentsOfFlux2) {
  const auto plain = load_tiny(kData / "tiny_klein");
  models::TinyDecoderConfig config{.latent_channels = 8, .blocks = {1, 1}, .patch = 2};
  EXPECT_EQ(config.format().channels, 32);
  EXPECT_EQ(config.format().pixels_per_latent, 4);
  const at::Tensor packed = at::arange(32, at::kFloat).view({1, 32, 1, 1}).expand({1, 32, 2, 3});
  TinyDecoderTensors tensors{.latent_channels = 8, .blocks = {1, 1}, .pool = true};
  put("network.safetensors", tensors.tensors());
  const auto checkpoint = weights::Checkpoint::open_file(folder_.path() / "network.safetensors").value();
  const models::TinyDecoder decoder({.latent_channels = 8, .width = 16, .blocks = {1, 1}, .patch = 2},
                                    weights::Scope(checkpoint, "", at::kFloat, at::kCPU));
  checkpoint->require_all_used({});
  const at::Tensor unpacked = decoder.unscaled(packed);
  EXPECT_EQ(unpacked.sizes(), at::IntArrayRef({1, 8, 4, 6}));
  // Channel c of the decoder is 4 c to 4 c + 3 of the denoiser: upper left, upper right, lower left, lower
  // right.
  EXPECT_TRUE(
      unpacked[0][1].slice(0, 0, 2).slice(1, 0, 2).equal(at::tensor({4.0f, 5.0f, 6.0f, 7.0f}).view({2, 2})));
  at::Tensor x = unpacked;
  const std::size_t stages = decoder.decode_flops(2, 3).size();
  for (std::size_t stage = 0; stage < stages; ++stage) x = decoder.decode_stage(stage, x);
  EXPECT_EQ(x.sizes(), at::IntArrayRef({1, 3, 8, 12}));
}

TEST_F(TinyDecoders, AreRefusedInOneLineWhereTheyDoNotFit) {
  put("taesd3.safetensors", fitting({.channels = 5, .pixels_per_latent = 8}).tensors());
  EXPECT_THAT(refusal().message, HasSubstr("taesd3.safetensors: decodes latents of 5 channels"));
  put("taesd3.safetensors", {{"something", at::ones({1})}});
  EXPECT_THAT(refusal().message, HasSubstr("taesd3.safetensors: no tiny decoder"));
  auto without_end = fitting(kSd3Format).tensors();
  without_end.resize(without_end.size() - 2);
  put("taesd3.safetensors", without_end);
  EXPECT_THAT(refusal().message, HasSubstr("a tiny decoder without an end"));
  auto damaged = fitting(kSd3Format).tensors();
  damaged[3].second = at::ones({5});
  put("taesd3.safetensors", damaged);
  EXPECT_THAT(refusal().message, HasSubstr("decoder.layers.2.conv.0.bias"));
  write_file(folder_.path() / "taesd3.safetensors", "no file of tensors");
  EXPECT_THAT(refusal().message, HasSubstr("taesd3.safetensors"));
}

TEST_F(TinyDecoders, AreRefusedWhereTheModelHasNone) {
  put("taef1.safetensors", fitting(kSd3Format).tensors());  // another model's
  const auto pipeline = load();
  EXPECT_TRUE(pipeline->info().decoders.empty());
  const auto refused = pipeline->resolve(tiny(request_of("a fox")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "decoder");
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  GenerateRequest other = request_of("a fox");
  other.decoder = "huge";
  EXPECT_EQ(pipeline->resolve(other).error().code, ErrorCode::invalid_argument);
  other.decoder = kFullDecoder;
  EXPECT_TRUE(pipeline->resolve(other));
}

TEST(TinyDecoderNames, AreThoseOfTheLatents) {
  EXPECT_EQ(tiny_decoder_name("StableDiffusionPipeline"), "taesd");
  EXPECT_EQ(tiny_decoder_name("StableDiffusionXLInpaintPipeline"), "taesdxl");
  EXPECT_EQ(tiny_decoder_name("StableDiffusion3Pipeline"), "taesd3");
  EXPECT_EQ(tiny_decoder_name("FluxKontextPipeline"), "taef1");
  EXPECT_EQ(tiny_decoder_name("ZImagePipeline"), "taef1");
  EXPECT_EQ(tiny_decoder_name("Flux2KleinPipeline"), "taef2");
  EXPECT_EQ(tiny_decoder_name("QwenImagePipeline"), "");
}

}  // namespace
}  // namespace diffused::pipelines
