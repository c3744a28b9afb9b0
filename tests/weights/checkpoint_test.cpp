#include "weights/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/files.h"
#include "support/load_error.h"
#include "support/safetensors.h"
#include "weights/scope.h"

namespace diffused::weights {
namespace {

using test::load_error;
using test::safetensors_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kStem = "diffusion_pytorch_model";

std::string open_error(const std::filesystem::path& folder, CheckpointOptions options = {}) {
  const auto checkpoint = Checkpoint::open(folder, options);
  return checkpoint ? "no error" : checkpoint.error().message;
}

TEST(Checkpoint, HandsOutTheFilesOwnMemoryWhenNothingNeedsConverting) {
  const TemporaryFolder folder;
  const at::Tensor values = at::arange(6, at::kFloat).view({2, 3});
  write_file(folder.path() / (kStem + ".safetensors"), safetensors_file({{"a.weight", values}}));
  at::Tensor first, second;
  {
    const auto checkpoint = Checkpoint::open(folder.path()).value();
    first = checkpoint->tensor("a.weight", {2, 3}, at::kFloat, at::kCPU);
    second = checkpoint->tensor("a.weight", {-1, 3}, at::kFloat, at::kCPU);
    EXPECT_EQ(checkpoint->use().parameters, 6u);
    EXPECT_EQ(checkpoint->use().bytes, 24u);
  }
  EXPECT_EQ(first.data_ptr(), second.data_ptr());
  EXPECT_TRUE(first.equal(values));  // the mapping outlives the checkpoint
}

TEST(Checkpoint, ConvertsEveryDtype) {
  const TemporaryFolder folder;
  const at::Tensor values = at::tensor({0.5f, -2.0f, 3.0f, 0.0f});
  test::NamedTensors tensors;
  for (const auto dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    tensors.emplace_back(std::string(dtype_name(dtype)), values.to(dtype));
  }
  write_file(folder.path() / (kStem + ".safetensors"), safetensors_file(tensors));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  for (const auto& [name, unused] : tensors) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor read = checkpoint->tensor(name, {4}, dtype, at::kCPU);
      EXPECT_EQ(read.scalar_type(), dtype);
      EXPECT_TRUE(read.to(at::kFloat).equal(values)) << name;
    }
  }
}

TEST(Checkpoint, ReadsTensorsThatLieAtOddAddresses) {
  const TemporaryFolder folder;
  const at::Tensor bytes = at::zeros({3}, at::kByte), values = at::arange(5, at::kFloat);
  write_file(folder.path() / (kStem + ".safetensors"),
             safetensors_file({{"odd", bytes}, {"values", values}}));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  EXPECT_TRUE(checkpoint->tensor("values", {5}, at::kFloat, at::kCPU).equal(values));
}

TEST(Checkpoint, SaysFolderFileTensorExpectedAndFound) {
  const TemporaryFolder folder;
  const auto file = folder.path() / (kStem + ".safetensors");
  write_file(file, safetensors_file({{"proj.weight", at::zeros({2, 3})}}));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  const Scope scope(checkpoint, "", at::kFloat, at::kCPU);
  EXPECT_EQ(load_error([&] {
              (scope / "proj").tensor("weight", {3, 2});
            }),
            file.string() + ": tensor 'proj.weight' has shape [2, 3], expected [3, 2]");
  EXPECT_EQ(load_error([&] { (scope / "proj" / 0).tensor("bias", {2}); }),
            file.string() + ": tensor 'proj.0.bias' is missing");
}

// Of a list that the network uses, it must use all: else the config describes another one.
TEST(Checkpoint, LeavesOutOtherPartsButNoneOfAListThatIsUsed) {
  const TemporaryFolder folder;
  const auto file = folder.path() / (kStem + ".safetensors");
  test::NamedTensors tensors = {{"blocks.0.weight", at::zeros({2, 3})},
                                {"vision_model.layers.0.weight", at::zeros({2, 3})},
                                {"decay", at::zeros({1})}};
  write_file(file, safetensors_file(tensors));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  checkpoint->tensor("blocks.0.weight", {2, 3}, at::kFloat, at::kCPU);
  checkpoint->require_all_used();
  tensors.emplace_back("blocks.1.weight", at::zeros({2, 3}));
  write_file(file, safetensors_file(tensors));
  const auto longer = Checkpoint::open(folder.path()).value();
  longer->tensor("blocks.0.weight", {2, 3}, at::kFloat, at::kCPU);
  EXPECT_EQ(
      load_error([&] { longer->require_all_used(); }),
      file.string() +
          ": tensor 'blocks.1.weight' of shape [2, 3] is not part of the network that config.json describes");
  longer->require_all_used({"blocks."});
}

TEST(Checkpoint, SaysWhoPackedItsWeights) {
  const TemporaryFolder folder;
  write_file(folder.path() / (kStem + ".safetensors"),
             safetensors_file({{"proj.weight", at::zeros({6, 1}, at::kByte)},
                               {"proj.weight.absmax", at::zeros({1})},
                               {"proj.weight.quant_state.bitsandbytes__nf4", at::zeros({8}, at::kByte)}}));
  EXPECT_THAT(open_error(folder.path()), HasSubstr("weights packed by bitsandbytes (4 bits"));
}

TEST(Checkpoint, ReadsFilesWithTensorsOfKindsThatNoWeightHas) {
  const TemporaryFolder folder;
  write_file(folder.path() / (kStem + ".safetensors"),
             safetensors_file({{"a", at::zeros({2})}, {"marks", at::zeros({2}, at::kUInt32)}}));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  checkpoint->tensor("a", {2}, at::kFloat, at::kCPU);
  checkpoint->require_all_used();
  EXPECT_THAT(load_error([&] { checkpoint->tensor("marks", {2}, at::kFloat, at::kCPU); }),
              HasSubstr("tensor 'marks' is of type U32"));
}

TEST(Checkpoint, CountsAsUnusedNeitherStrayBuffersNorSecondCopies) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model.safetensors",
             safetensors_file({{"text_model.embeddings.position_ids", at::zeros({1, 77}, at::kLong)},
                               {"shared.weight", at::zeros({4, 2})},
                               {"encoder.embed_tokens.weight", at::zeros({4, 2})},
                               {"extra", at::zeros({1})}}));
  const auto checkpoint = Checkpoint::open(folder.path(), {.stem = "model", .variant = ""}).value();
  EXPECT_THAT(checkpoint->unused(), ElementsAre("encoder.embed_tokens.weight", "extra", "shared.weight"));
  checkpoint->tensor("shared.weight", {4, 2}, at::kFloat, at::kCPU);
  EXPECT_THAT(checkpoint->unused(), ElementsAre("extra"));
}

TEST(Checkpoint, CountsAsUnusedNothingThatIsLeftOut) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model.safetensors", safetensors_file({{"layers.0.a", at::zeros({1})},
                                                                    {"layers.1.a", at::zeros({1})},
                                                                    {"layers.1.b", at::zeros({1})},
                                                                    {"layers.10.a", at::zeros({1})}}));
  const auto checkpoint = Checkpoint::open(folder.path(), {.stem = "model", .variant = ""}).value();
  checkpoint->tensor("layers.0.a", {1}, at::kFloat, at::kCPU);
  const Scope layers(checkpoint, "layers.", at::kFloat, at::kCPU);
  (layers / 1).leave_out();
  EXPECT_THAT(checkpoint->unused(), ElementsAre("layers.10.a"));
  (layers / 10).leave_out();
  checkpoint->require_all_used();
  EXPECT_FALSE((layers / 1).empty());
  EXPECT_TRUE((layers / 2).empty());
}

TEST(Checkpoint, ListsWhatTheFilesHold) {
  const TemporaryFolder folder;
  write_file(folder.path() / (kStem + ".safetensors"),
             safetensors_file({{"b", at::zeros({2, 2}, at::kHalf)}, {"a", at::zeros({3}, at::kLong)}}));
  const auto list = Checkpoint::open(folder.path()).value()->list();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "a");
  EXPECT_EQ(list[0].dtype, "I64");
  EXPECT_EQ(list[0].bytes, 24u);
  EXPECT_EQ(list[1].file, kStem + ".safetensors");
  EXPECT_THAT(list[1].shape, ElementsAre(2, 2));
}

TEST(Checkpoint, ThrowsWhenTheFileWasCutAfterOpening) {
  const TemporaryFolder folder;
  const auto file = folder.path() / (kStem + ".safetensors");
  write_file(file, safetensors_file({{"a", at::zeros({4096})}}));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  std::filesystem::resize_file(file, 1000);
  EXPECT_THAT(load_error([&] { checkpoint->tensor("a", {4096}, at::kBFloat16, at::kCPU); }),
              HasSubstr("changed on disk before tensor 'a' was read"));
}

TEST(Checkpoint, KeepsReadingTheOldFileWhenItIsReplaced) {
  const TemporaryFolder folder;
  const auto file = folder.path() / (kStem + ".safetensors");
  write_file(file, safetensors_file({{"a", at::ones({4096})}}));
  const auto checkpoint = Checkpoint::open(folder.path()).value();
  write_file(folder.path() / "new", safetensors_file({{"a", at::zeros({2})}}));
  std::filesystem::rename(folder.path() / "new", file);
  EXPECT_TRUE(checkpoint->tensor("a", {4096}, at::kFloat, at::kCPU).equal(at::ones({4096})));
}

// The folder's shards 1 and 2, found through an index of this name.
void write_shards(const std::filesystem::path& folder, const std::string& index,
                  const std::string& weight_map) {
  write_file(folder / "s1.safetensors", safetensors_file({{"a", at::zeros({1})}, {"b", at::ones({2})}}));
  write_file(folder / "s2.safetensors", safetensors_file({{"c", at::ones({3})}}));
  write_file(folder / index, R"({"metadata":{"total_size":24},"weight_map":)" + weight_map + "}");
}
const std::string kWeightMap = R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"})";

TEST(CheckpointFiles, ReadsShardsUnderEverySpellingOfTheIndex) {
  for (const char* index : {".safetensors.index.json", ".safetensors.index.fp16.json",
                            ".safetensors.fp16.index.json", ".fp16.safetensors.index.json"}) {
    const TemporaryFolder folder;
    write_shards(folder.path(), kStem + index, kWeightMap);
    const auto checkpoint = Checkpoint::open(folder.path(), {.stem = kStem, .variant = "fp16"});
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->list().size(), 3u);
    EXPECT_EQ(load_error([&] { (*checkpoint)->tensor("d", {1}, at::kFloat, at::kCPU); }),
              folder.path().string() + ": tensor 'd' is missing");
  }
}

TEST(CheckpointFiles, PrefersTheVariantAndFallsBackToThePlainFile) {
  const TemporaryFolder folder;
  write_file(folder.path() / (kStem + ".safetensors"), safetensors_file({{"plain", at::zeros({1})}}));
  write_file(folder.path() / (kStem + ".fp16.safetensors"),
             safetensors_file({{"half", at::zeros({1}, at::kHalf)}}));
  const auto name = [&](const std::string& variant) {
    return Checkpoint::open(folder.path(), {.stem = kStem, .variant = variant}).value()->list().front().name;
  };
  EXPECT_EQ(name(""), "plain");
  EXPECT_EQ(name("fp16"), "half");
  EXPECT_EQ(name("bf16"), "plain");
}

TEST(CheckpointFiles, TakesTheOnlyVariantButAsksWhichOfSeveral) {
  const TemporaryFolder folder;
  write_file(folder.path() / (kStem + ".fp16.safetensors"),
             safetensors_file({{"half", at::zeros({1}, at::kHalf)}}));
  write_file(folder.path() / "other.fp32.safetensors", "");
  EXPECT_EQ(open_error(folder.path()), "no error");
  write_file(folder.path() / (kStem + ".safetensors.index.bf16.json"), "{}");
  EXPECT_THAT(open_error(folder.path()), HasSubstr("the variants bf16, fp16: choose one"));
}

TEST(CheckpointFiles, TakesTheOnlyVariantWhenItIsSharded) {
  const TemporaryFolder folder;
  const std::string shard = kStem + ".fp16-00001-of-00001.safetensors";
  write_file(folder.path() / shard, safetensors_file({{"a", at::zeros({1})}}));
  write_file(folder.path() / (kStem + ".safetensors.index.fp16.json"),
             R"({"weight_map":{"a":")" + shard + "\"}}");
  EXPECT_EQ(open_error(folder.path()), "no error");
}

TEST(CheckpointFiles, SaysWhichShardIsMissingOrWrong) {
  const std::string index = kStem + ".safetensors.index.json";
  const auto error_of = [&](const std::string& weight_map) {
    const TemporaryFolder folder;
    write_shards(folder.path(), index, weight_map);
    return open_error(folder.path());
  };
  EXPECT_THAT(error_of(R"({"a":"s1.safetensors","x":"s3.safetensors"})"),
              HasSubstr("half-downloaded: shard 's3.safetensors', named for tensor 'x', is not there"));
  EXPECT_THAT(error_of(R"({"a":"s1.safetensors","c":"s1.safetensors"})"), HasSubstr("tensor 'c' is missing"));
  EXPECT_THAT(error_of(R"({"a":"../s1.safetensors"})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(error_of(R"({"a":"/s1.safetensors"})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(error_of(R"({"a":".."})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(error_of(R"({"a":1})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(error_of("{}"), HasSubstr("names no shard"));
  EXPECT_THAT(error_of("[]"), HasSubstr("weight_map"));
}

TEST(CheckpointFiles, RefusesATensorThatTwoShardsHold) {
  const TemporaryFolder folder;
  write_shards(folder.path(), kStem + ".safetensors.index.json", kWeightMap);
  write_file(folder.path() / "s2.safetensors",
             safetensors_file({{"a", at::zeros({1})}, {"c", at::ones({3})}}));
  EXPECT_THAT(open_error(folder.path()), HasSubstr("tensor 'a' is in 's1.safetensors' as well"));
}

TEST(CheckpointFiles, SaysWhatAFolderLacks) {
  const TemporaryFolder folder;
  EXPECT_THAT(open_error(folder.path() / "absent"), HasSubstr("no such folder"));
  EXPECT_THAT(open_error(folder.path()), HasSubstr("half-downloaded"));
  write_file(folder.path() / "diffusion_pytorch_model.bin", "x");
  EXPECT_THAT(open_error(folder.path()), HasSubstr("only pickled weights"));
  write_file(folder.path() / (kStem + ".safetensors"), "version https://git-lfs.github.com/spec/v1\noid …");
  EXPECT_THAT(open_error(folder.path()), HasSubstr("a git-lfs pointer"));
  write_file(folder.path() / (kStem + ".safetensors"), "");
  EXPECT_THAT(open_error(folder.path()), HasSubstr("empty"));
}

TEST(CheckpointFiles, FollowsLinks) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "blobs");
  write_file(folder.path() / "blobs" / "1234", safetensors_file({{"a", at::zeros({1})}}));
  std::filesystem::create_directory(folder.path() / "snapshot");
  std::filesystem::create_symlink("../blobs/1234", folder.path() / "snapshot" / (kStem + ".safetensors"));
  EXPECT_EQ(open_error(folder.path() / "snapshot"), "no error");
}

}  // namespace
}  // namespace diffused::weights
