// The syntax, by its published rules, and the chunks.
#include "tokenizers/weighted_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "tokenizers/data.h"

namespace diffused::tokenizers {
namespace {

struct Read {
  std::string prompt;
  std::vector<std::pair<std::string, double>> pieces;  // weight 0: BREAK
};

const std::vector<Read> kReads = {
    {"", {{"", 1}}},
    {"a kitten", {{"a kitten", 1}}},
    {"a (small) kitten", {{"a ", 1}, {"small", 1.1}, {" kitten", 1}}},
    {"a ((small)) kitten", {{"a ", 1}, {"small", 1.21}, {" kitten", 1}}},
    {"a [small] kitten", {{"a ", 1}, {"small", 1 / 1.1}, {" kitten", 1}}},
    {"(small:1.3)", {{"small", 1.3}}},
    {"(small : 1.3 )", {{"small ", 1.3}}},
    {"(small:.5)", {{"small", 0.5}}},
    {"(small:+2)", {{"small", 2}}},
    {"(small:-1)", {{"small", -1}}},
    {"(small:0)", {{"small", 0}}},
    {"(a (b:2) c:3)", {{"a ", 3}, {"b", 6}, {" c", 3}}},
    {"(a [b] c)", {{"a ", 1.1}, {"b", 1}, {" c", 1.1}}},
    {"((a) b", {{"a", 1.21}, {" b", 1.1}}},
    {"[a", {{"a", 1 / 1.1}}},
    {"(a)(b)", {{"ab", 1.1}}},
    {"a) b] c", {{"a) b] c", 1}}},
    {"a:1.5) b", {{"a:1.5) b", 1}}},
    {"[a:1.5]", {{"a:1.5", 1 / 1.1}}},
    {"(a:b:2)", {{"a:b", 2}}},
    {"(a:1.2.3)", {{"a:1.2.3", 1.1}}},
    {"(a:1e3)", {{"a:1e3", 1.1}}},
    {"(a:)", {{"a:", 1.1}}},
    {"(a:+-1)", {{"a:+-1", 1.1}}},
    {R"(\(a\) \[b\] \\ c\d)", {{R"((a) [b] \ cd)", 1}}},
    {R"((a\)b:2))", {{"a)b", 2}}},
    {R"(a\)", {{"a", 1}}},
    {"()", {{"", 1}}},
    {"a BREAK b", {{"a", 1}, {"", 0}, {"b", 1}}},
    {"BREAK", {{"", 0}}},
    {"aBREAK BREAKb break", {{"aBREAK BREAKb break", 1}}},
    {"(a BREAK b:2)", {{"a", 2}, {"", 0}, {"b", 2}}},
    {"a BREAK BREAK b", {{"a", 1}, {"", 0}, {"", 0}, {"b", 1}}},
    // Each kind of bracket is matched by itself.
    {"(a [b) c]", {{"a ", 1.1}, {"b", 1.1 / 1.1}, {" c", 1 / 1.1}}},
};

TEST(WeightedPrompt, IsReadByTheRules) {
  for (const Read& read : kReads) {
    const auto parsed = parse_weighted_prompt(read.prompt);
    ASSERT_EQ(parsed.size(), read.pieces.size()) << read.prompt;
    for (std::size_t i = 0; i < parsed.size(); ++i) {
      const auto& [text, weight] = read.pieces[i];
      EXPECT_EQ(parsed[i].text, text) << read.prompt;
      EXPECT_EQ(parsed[i].is_break, weight == 0 && text.empty()) << read.prompt;
      if (!parsed[i].is_break) {
        EXPECT_NEAR(parsed[i].weight, weight, 1e-12) << read.prompt;
      }
    }
  }
}

TEST(WeightedPrompt, HostileTextTakesNoLongerThanItsLength) {
  for (const char* const part : {"(", "[", ")", "(a:", ": ", "((a:1.1)", "\\", "BREAK ", ":1"}) {
    std::string prompt;
    while (prompt.size() < 200'000) prompt += part;
    EXPECT_FALSE(parse_weighted_prompt(prompt).empty());
  }
}

class Chunks : public testing::Test {
 protected:
  static std::unique_ptr<Tokenizer> load(const char* name) { return *load_clip_tokenizer(kData / name); }
  static std::string words(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "a ";
    return text;
  }
  // How many ids of text a chunk has.
  static int filled(const WeightedIds& chunk, const Tokenizer& tokenizer) {
    int count = 0;
    while (chunk.ids[static_cast<std::size_t>(count) + 1] != tokenizer.frame().end_id) ++count;
    return count;
  }

  const std::unique_ptr<Tokenizer> clip_ = load("clip_l");
};

TEST_F(Chunks, AShortPlainPromptIsWhatItAlwaysIs) {
  for (const char* const name : {"clip_l", "clip_g", "clip_l_json"}) {
    const auto tokenizer = load(name);
    for (const char* const text : {"", "a kitten, at night: \"snow\"", "it's <|endoftext|> 猫"}) {
      const auto chunks = weighted_chunks(*tokenizer, text, 77);
      ASSERT_EQ(chunks.size(), 1u);
      EXPECT_EQ(chunks[0].ids, tokenizer->encode(text, 77).ids) << name << text;
      EXPECT_THAT(chunks[0].weights, testing::Each(1));
      EXPECT_EQ(chunks[0].weights.size(), 77u);
    }
  }
}

TEST_F(Chunks, ALongPromptFillsAsManyAsItNeeds) {
  ASSERT_EQ(clip_->text_ids("a").size(), 1u);
  for (const auto& [count, wanted] :
       std::map<int, std::vector<int>>{{75, {75}}, {76, {75, 1}}, {150, {75, 75}}, {200, {75, 75, 50}}}) {
    std::vector<int> found;
    for (const auto& chunk : weighted_chunks(*clip_, words(count), 77)) {
      EXPECT_EQ(chunk.ids.size(), 77u);
      found.push_back(filled(chunk, *clip_));
    }
    EXPECT_EQ(found, wanted);
  }
}

TEST_F(Chunks, BreakBeginsANewOne) {
  const auto two = weighted_chunks(*clip_, "a BREAK (a a:2)", 77);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(filled(two[0], *clip_), 1);
  EXPECT_EQ(filled(two[1], *clip_), 2);
  EXPECT_THAT(std::vector<float>(two[1].weights.begin(), two[1].weights.begin() + 4),
              testing::ElementsAre(1, 2, 2, 1));
  EXPECT_EQ(weighted_chunks(*clip_, "BREAK a", 77).size(), 2u);
  EXPECT_EQ(weighted_chunks(*clip_, "a BREAK", 77).size(), 1u);
}

TEST_F(Chunks, AFullOneEndsAfterACommaThatIsNear) {
  const auto near = weighted_chunks(*clip_, words(60) + ", " + words(30), 77);
  ASSERT_EQ(near.size(), 2u);
  EXPECT_EQ(filled(near[0], *clip_), 61);
  EXPECT_EQ(filled(near[1], *clip_), 30);
  const auto far = weighted_chunks(*clip_, words(50) + ", " + words(40), 77);
  ASSERT_EQ(far.size(), 2u);
  EXPECT_EQ(filled(far[0], *clip_), 75);
}

// Words with ids of their own, behind the vocabulary's 49,408.
class LearnedWords : public Chunks {
 protected:
  static std::unique_ptr<Tokenizer> load_with(std::vector<AddedToken> learned) {
    return load_clip_tokenizer(kData / "clip_l", learned).value();
  }
  static constexpr int kFirst = 1 << 20;
  static AddedToken word(const std::string& content, int ids, bool single_word = true) {
    return {.content = content, .single_word = single_word, .normalized = true, .id = kFirst, .ids = ids};
  }
  static std::vector<int> ids_of(int count) {
    std::vector<int> ids(static_cast<std::size_t>(count));
    std::iota(ids.begin(), ids.end(), kFirst);
    return ids;
  }
};

TEST_F(LearnedWords, StandWhereTheyAreWords) {
  const auto tokenizer = load_with({word("InkWash", 3)});
  for (const char* const text : {"inkwash", " INKWASH ", "InkWash,"}) {
    std::vector<int> ids = tokenizer->text_ids(text);
    ids.resize(3);
    EXPECT_EQ(ids, ids_of(3)) << text;
  }
  for (const char* const text : {"inkwashes", "xinkwash", "ink wash"})
    EXPECT_EQ(tokenizer->text_ids(text), clip_->text_ids(text)) << text;
  const auto inside = load_with({word("<ink>", 2, /*single_word=*/false)});
  EXPECT_THAT(inside->text_ids("a<ink>"), testing::Contains(kFirst + 1));
}

TEST_F(LearnedWords, AreNotPartedByTheEndOfAChunk) {
  const auto tokenizer = load_with({word("inkwash", 10)});
  const auto fit = weighted_chunks(*tokenizer, words(65) + "inkwash", 77);
  ASSERT_EQ(fit.size(), 1u);
  const auto moved = weighted_chunks(*tokenizer, words(66) + "(inkwash:1.5)", 77);
  ASSERT_EQ(moved.size(), 2u);
  EXPECT_EQ(filled(moved[0], *tokenizer), 66);
  EXPECT_EQ(filled(moved[1], *tokenizer), 10);
  EXPECT_EQ(moved[1].weights[10], 1.5);
  // One that no chunk holds is cut like any text.
  EXPECT_EQ(weighted_chunks(*load_with({word("inkwash", 80)}), "a inkwash", 77).size(), 2u);
}

TEST_F(LearnedWords, NeedIdsOfTheirOwn) {
  AddedToken taken = word("inkwash", 1);
  taken.id = 5;
  EXPECT_EQ(load_clip_tokenizer(kData / "clip_l", {taken}).error().code, ErrorCode::data_loss);
}

TEST_F(Chunks, ATextOfOnePieceIsCutOff) {
  const auto t5 = *load_t5_tokenizer(kData / "t5");
  const auto read = weighted_text(*t5, "a kitten (at night:1.5) BREAK in the snow", 8);
  EXPECT_EQ(read.ids.size(), 8u);
  EXPECT_EQ(read.weights.size(), 8u);
  EXPECT_EQ(read.ids.back(), t5->frame().end_id);
  EXPECT_EQ(read.weights.back(), 1);
  EXPECT_EQ(weighted_text(*t5, "a kitten", 12).ids, t5->encode("a kitten", 12).ids);
}

}  // namespace
}  // namespace diffused::tokenizers
