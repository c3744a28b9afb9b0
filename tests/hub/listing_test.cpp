// What of a repository a pipeline needs.
#include "hub/listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace diffused::hub {
namespace {

using testing::UnorderedElementsAre;

const std::string kHash(40, 'a');

Listing listing(const std::vector<std::string>& paths) {
  Listing made;
  for (const std::string& path : paths) made.files.push_back({path, 1, kHash});
  return made;
}

Result<std::vector<std::string>> chosen(const std::vector<std::string>& paths,
                                        const std::string& variant = "") {
  const auto index =
      boost::json::parse(R"({"_class_name": "X", "vae": ["diffusers", "AutoencoderKL"], "text_encoder":
      ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "DDIMScheduler"], "unet": [null, null], "safety_checker": ["x", "Y"]})");
  TRY(const auto files, choose_files(listing(paths), index.get_object(), variant));
  std::vector<std::string> names;
  for (const HubFile& file : files) names.push_back(file.path);
  return names;
}

const std::vector<std::string> kConfigs = {"model_index.json", "vae/config.json", "text_encoder/config.json",
                                           "scheduler/scheduler_config.json"};

std::vector<std::string> with_configs(std::vector<std::string> more) {
  more.insert(more.end(), kConfigs.begin(), kConfigs.end());
  return more;
}

TEST(ChooseFiles, WeightsComeOnce) {
  const auto names = chosen(
      with_configs({"vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
                    "vae/diffusion_pytorch_model.bin", "vae/model.safetensors",
                    "text_encoder/model.safetensors", "text_encoder/deep/config.json", "whole.safetensors",
                    "unet/config.json", "safety_checker/model.safetensors"}));
  ASSERT_TRUE(names) << names.error().message;
  EXPECT_THAT(*names, testing::UnorderedElementsAreArray(with_configs(
                          {"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"})));
}

TEST(ChooseFiles, AVariantWhereThereIsOneElseThePlainElseTheOnlyOne) {
  const auto paths =
      with_configs({"vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
                    "text_encoder/model.bf16.safetensors"});
  EXPECT_THAT(*chosen(paths, "fp16"),
              testing::UnorderedElementsAreArray(with_configs(
                  {"vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.bf16.safetensors"})));
  const auto unclear =
      chosen(with_configs({"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.bf16.safetensors",
                           "text_encoder/model.fp16.safetensors"}));
  EXPECT_EQ(unclear.error().code, ErrorCode::not_found);
}

TEST(ChooseFiles, ShardsComeWholeWithTheirIndex) {
  const std::string first = "text_encoder/model-00001-of-00002.safetensors",
                    second = "text_encoder/model-00002-of-00002.safetensors",
                    index = "text_encoder/model.safetensors.index.json",
                    vae = "vae/diffusion_pytorch_model.safetensors";
  EXPECT_THAT(*chosen(with_configs({first, second, index, vae, "text_encoder/pytorch_model.bin.index.json"})),
              testing::UnorderedElementsAreArray(with_configs({first, second, index, vae})));
  EXPECT_EQ(chosen(with_configs({first, index, vae})).error().code, ErrorCode::not_found);
  EXPECT_EQ(chosen(with_configs({first, second, vae})).error().code, ErrorCode::not_found);
}

TEST(ChooseFiles, SaysWhatIsMissing) {
  EXPECT_EQ(chosen({"model_index.json"}).error().code, ErrorCode::not_found);
  EXPECT_EQ(chosen(with_configs({"vae/diffusion_pytorch_model.bin", "text_encoder/model.safetensors"}))
                .error()
                .code,
            ErrorCode::unsupported);
  EXPECT_EQ(chosen(with_configs({"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
                                 "vae/my config.json"}))
                .error()
                .code,
            ErrorCode::data_loss);
}

TEST(ParseListing, TakesSizesAndHashes) {
  const auto parsed = parse_listing(R"({"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [
      {"rfilename": "a", "size": 3, "blobId": "0123456789abcdef0123456789abcdef01234567"},
      {"rfilename": "b", "size": 9, "blobId": "ff", "lfs": {"sha256": ")" +
                                    std::string(64, 'c') + R"(", "size": 10}}, {"rfilename": "c"}]})");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->files[0].size, 3u);
  EXPECT_EQ(parsed->files[1].size, 10u);
  EXPECT_EQ(parsed->files[1].hash, std::string(64, 'c'));
  EXPECT_FALSE(parsed->files[2].size);
  EXPECT_EQ(parsed->files[2].hash, "");
}

TEST(ParseListing, RefusesWhatIsNone) {
  for (
      const char* const text :
      {"", "[]", "{}", R"({"sha": "main", "siblings": []})",
       R"({"sha": "0123456789abcdef0123456789abcdef01234567"})",
       R"({"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [1]})",
       R"({"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{"rfilename": "../x"}]})",
       R"({"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{"rfilename": "x", "blobId": "../../x"}]})"}) {
    const auto parsed = parse_listing(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::data_loss);
  }
}

}  // namespace
}  // namespace diffused::hub
