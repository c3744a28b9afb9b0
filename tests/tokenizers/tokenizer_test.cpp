#include "tokenizers/tokenizer.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <chrono>
#include <thread>

#include "support/files.h"
#include "tokenizers/data.h"

namespace diffused::tokenizers {
namespace {

namespace json = boost::json;

std::unique_ptr<Tokenizer> load(const std::string& name) {
  auto tokenizer = load_kind(name, kData / name);
  if (!tokenizer) ADD_FAILURE() << tokenizer.error().message;
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

// The ids that transformers gives for folders of every kind; tools/golden/tokenizer_folders.py wrote them.
class TokenizerFolders : public testing::TestWithParam<std::string> {
 protected:
  static const json::object& expected() {
    static const json::object content = json::parse(read_file(kData / "expected.json")).as_object();
    return content;
  }
};

TEST_P(TokenizerFolders, GiveTheIdsOfTransformers) {
  const auto tokenizer = load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const auto texts = json::value_to<std::vector<std::string>>(expected().at("texts"));
  const auto length = json::value_to<int>(expected().at("length"));
  const json::value& folder = expected().at("folders").at(GetParam());
  const auto ids = json::value_to<std::vector<std::vector<int>>>(folder.at("ids"));
  const auto token_counts = json::value_to<std::vector<int>>(folder.at("token_counts"));
  ASSERT_GT(texts.size(), 100u);
  ASSERT_EQ(texts.size(), ids.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Encoding encoding = tokenizer->encode(texts[i], length);
    EXPECT_EQ(encoding.ids, ids[i]) << texts[i];
    EXPECT_EQ(encoding.token_count, token_counts[i]) << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFolders,
                         testing::Values("clip_l", "clip_g", "clip_g3", "clip_small", "clip_l_json",
                                         "clip_g_json", "clip_flags_json", "t5", "t5_decoder", "t5_json",
                                         "qwen2", "qwen2_small", "qwen2_json"),
                         [](const auto& info) { return info.param; });

TEST(Tokenizer, KnowsTheLengthItsFolderAsksFor) {
  EXPECT_EQ(load("clip_l")->length_default(), 77);
  EXPECT_EQ(load("clip_small")->length_default(), 77);  // CLIP's own, where the folder has no word on it
  EXPECT_EQ(load("t5")->length_default(), 512);
  EXPECT_EQ(load("t5_decoder")->length_default(), std::nullopt);  // 10^30 means no limit
  EXPECT_EQ(load("qwen2")->length_default(), 131072);
}

TEST(Tokenizer, KeepsTheEndTokenHoweverShortTheResult) {
  const auto clip = load("clip_l");
  const Encoding whole = clip->encode("a cat on a mat", 77);
  const Encoding cut = clip->encode("a cat on a mat", 3);
  ASSERT_EQ(cut.ids.size(), 3u);
  EXPECT_EQ(cut.ids[0], whole.ids[0]);
  EXPECT_EQ(cut.ids[1], whole.ids[1]);
  EXPECT_EQ(cut.ids[2], whole.ids[76]);  // this tokenizer pads with its end token
  EXPECT_EQ(cut.token_count, whole.token_count);
  for (const int length : {-1, 0, 1}) EXPECT_EQ(clip->encode("a cat", length).ids.size(), 1u);
}

TEST(Tokenizer, HasNoEndTokenWhereItsKindHasNone) {
  const auto qwen2 = load("qwen2");
  EXPECT_EQ(qwen2->frame().end_id, std::nullopt);
  const auto ids = qwen2->text_ids("a cat on a mat");
  const Encoding cut = qwen2->encode("a cat on a mat", 3);
  EXPECT_EQ(cut.ids, std::vector<int>(ids.begin(), ids.begin() + 3));
  EXPECT_EQ(cut.token_count, static_cast<int>(ids.size()));
  EXPECT_EQ(qwen2->encode("", 2).ids, std::vector<int>(2, qwen2->frame().padding_id));
}

// The score of "▁ab" is the exact sum of those of "▁a" and "b", so the single piece, found first, stays.
// Boost.JSON reads the sum one unit in the last place too low.
TEST(Tokenizer, ReadsScoresExactlyEnoughForTies) {
  const TemporaryFolder folder;
  write_file(folder.path() / "tokenizer.json",
             R"({"added_tokens": [], "model": {"vocab": [["<pad>", 0], ["</s>", 0],
      ["<unk>", 0], ["▁a", -7.696178436279297], ["b", -6.284625053405762], ["▁ab", -13.980803489685059]]}})");
  EXPECT_EQ(load_t5_tokenizer(folder.path()).value()->encode("ab", 3).ids, (std::vector<int>{5, 1, 0}));
}

TEST(Tokenizer, StartsAWordAtEachMarkInsideOne) {
  const TemporaryFolder folder;
  write_file(folder.path() / "tokenizer.json",
             R"({"added_tokens": [], "model": {"vocab": [["<pad>", 0], ["</s>", 0],
      ["<unk>", 0], ["▁a", -5], ["▁b", -5], ["▁a▁b", -1]]}})");
  EXPECT_EQ(load_t5_tokenizer(folder.path()).value()->encode("a▁b", 4).ids, (std::vector<int>{3, 4, 1, 0}));
}

TEST(Tokenizer, TakesBytesThatAreNotUtf8ForReplacementCharacters) {
  for (const char* name : {"clip_l", "t5", "qwen2"}) {
    const auto tokenizer = load(name);
    for (const auto& [broken, mended] :
         std::vector<std::pair<std::string, std::string>>{{"a \xFF b", "a \uFFFD b"},
                                                          {"cut \xE2\x96", "cut \uFFFD"},
                                                          {"\xC0\xAF", "\uFFFD\uFFFD"},
                                                          {"\xED\xA0\x80!", "\uFFFD\uFFFD\uFFFD!"},
                                                          {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}}) {
      EXPECT_EQ(tokenizer->encode(broken, 32).ids, tokenizer->encode(mended, 32).ids)
          << name << " " << mended;
    }
  }
}

TEST(Tokenizer, ServesManyThreadsAtOnce) {
  for (const char* name : {"clip_l", "t5", "qwen2"}) {
    const auto tokenizer = load(name);
    const std::string text = "An “old” robot, e\u0301t\u0065\u0301 in Paris — 4k \U0001F9D1\u200D\U0001F680";
    const std::vector<int> expected = tokenizer->encode(text, 64).ids;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int repeat = 0; repeat < 50; ++repeat) EXPECT_EQ(tokenizer->encode(text, 64).ids, expected);
      });
    }
  }
}

// 100 kB take a few hundredths of a second; work growing with the square of the length would take minutes.
TEST(Tokenizer, StaysQuickOnHugeTextsWithoutSpaces) {
  for (const char* name : {"clip_g", "t5_decoder", "qwen2"}) {
    const auto tokenizer = load(name);
    for (const char* unit :
         {"a", "!", "<", "\u0301", "\U0001F469\u200D", "\u2581", "<extra_id_0> ", " \n", " ", "'"}) {
      std::string text;
      while (text.size() < 100'000) text += unit;
      const auto begin = std::chrono::steady_clock::now();
      tokenizer->encode(text, 77);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5)) << name << " " << unit;
    }
  }
}

}  // namespace
}  // namespace diffused::tokenizers
