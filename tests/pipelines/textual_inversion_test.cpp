// Which files give a model which words. That their pictures are Diffusers' is
// tests/parity/test_embeddings.py's.
#include "pipelines/textual_inversion.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/files.h"
#include "support/safetensors.h"

namespace diffused::pipelines {
namespace {

using test::NamedTensors;
using testing::ElementsAre;
using testing::IsEmpty;

const std::map<std::string, std::int64_t> kOne = {{"text_encoder", 4}};
const std::map<std::string, std::int64_t> kTwo = {{"text_encoder", 4}, {"text_encoder_2", 6}};

class TextualInversion : public testing::Test {
 protected:
  void add(const std::string& name, const NamedTensors& tensors) {
    const auto path = folder_.path() / (name + ".safetensors");
    std::filesystem::create_directories(path.parent_path());
    write_file(path, test::safetensors_file(tensors));
  }
  // "word x vectors" of the component's words.
  std::vector<std::string> words(const std::map<std::string, std::int64_t>& widths,
                                 const std::string& component = "text_encoder") {
    LearnedWords words = read_learned_words(folder_.path(), widths).value();
    std::vector<std::string> written;
    for (const LearnedWord& word : words[component])
      written.push_back(word.name + " x " + std::to_string(word.vectors.size(0)));
    return written;
  }

  TemporaryFolder folder_;
};

TEST_F(TextualInversion, GivesTheFilesNameAndTheTokenInIt) {
  add("styles/ink", {{"emb_params", at::ones({3, 4})}});
  add("cat", {{"<cat>", at::ones({4})}});
  add("wash", {{"wash", at::ones({2, 4})}});
  add("old", {{"*", at::ones({2, 4})}});
  add("plain", {{"dog", at::ones({2, 4})}});
  EXPECT_THAT(words(kOne),
              ElementsAre("<cat> x 1", "cat x 1", "ink x 3", "old x 2", "plain x 2", "wash x 2"));
}

TEST_F(TextualInversion, GivesEachEncoderItsPart) {
  add("both", {{"clip_g", at::ones({2, 6})}, {"clip_l", at::ones({3, 4})}});
  add("second", {{"<x>", at::ones({1, 6})}});
  EXPECT_THAT(words(kTwo), ElementsAre("both x 3"));
  EXPECT_THAT(words(kTwo, "text_encoder_2"), ElementsAre("<x> x 1", "both x 2", "second x 1"));
  // A model of one encoder is another model.
  EXPECT_THAT(words(kOne), IsEmpty());
}

TEST_F(TextualInversion, LeavesOutWhatIsNone) {
  add("wide", {{"emb_params", at::ones({3, 5})}});
  add("cube", {{"emb_params", at::ones({1, 3, 4})}});
  add("empty", {{"emb_params", at::ones({0, 4})}});
  add("huge", {{"emb_params", at::ones({1025, 4})}});
  add("lora", {{"a.lora_A.weight", at::ones({3, 4})}, {"a.lora_B.weight", at::ones({4, 3})}});
  write_file(folder_.path() / "cut.safetensors", "{");
  std::filesystem::create_directory(folder_.path() / "folder.safetensors");
  EXPECT_THAT(words(kOne), IsEmpty());
}

TEST_F(TextualInversion, TakesTheFirstOfTwoThatGiveOneWord) {
  add("a/ink", {{"emb_params", at::ones({1, 4})}});
  add("b/ink", {{"emb_params", at::ones({2, 4})}});
  add("c", {{"<c>", at::ones({3, 4})}});
  add("d", {{"<c>", at::ones({4, 4})}});
  EXPECT_THAT(words(kOne), ElementsAre("<c> x 3", "c x 3", "d x 4", "ink x 1"));
}

TEST_F(TextualInversion, WantsTheFolder) {
  EXPECT_EQ(read_learned_words(folder_.path() / "none", kOne).error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace diffused::pipelines
