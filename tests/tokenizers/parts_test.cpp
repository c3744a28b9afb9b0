// The parts of the room, each on examples small enough to work out by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizers/added_tokens.h"
#include "tokenizers/byte_pair.h"
#include "tokenizers/charsmap.h"
#include "tokenizers/trie.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"

namespace diffused::tokenizers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(Trie, FindsAllPrefixesShortestFirst) {
  const Trie trie({{"abc", 0}, {"a", 1}, {"b", 2}, {"ab", 3}, {"abd", 4}, {"", 5}, {"a", 6}, {"\xFF", 7}});
  const auto prefixes = [&](std::string_view text) {
    std::vector<std::pair<std::size_t, int>> found;
    trie.visit_prefixes(text, [&](std::size_t length, int value) { found.emplace_back(length, value); });
    return found;
  };
  EXPECT_THAT(prefixes("abcd"), ElementsAre(Pair(1, 6), Pair(2, 3), Pair(3, 0)));  // the later "a" counts
  EXPECT_THAT(prefixes("\xFF\xFF"), ElementsAre(Pair(1, 7)));
  EXPECT_THAT(prefixes("cab"), IsEmpty());
  EXPECT_THAT(prefixes(""), IsEmpty());
}

TEST(Trie, IsEmptyWithoutEntries) {
  Trie().visit_prefixes("a", [](std::size_t, int) { FAIL(); });
}

std::vector<std::pair<std::string, int>> cut(std::vector<AddedToken> tokens, std::string_view text) {
  std::vector<std::pair<std::string, int>> parts;
  for (const Span& span : AddedTokens(std::move(tokens)).cut(text))
    parts.emplace_back(span.text, span.token_id);
  return parts;
}

TEST(AddedTokens, TakeTheLongestThatStartsFirst) {
  const std::vector<AddedToken> tokens = {
      {.content = "<a", .id = 1}, {.content = "<a>", .id = 2}, {.content = "b", .id = 3}};
  EXPECT_THAT(cut(tokens, "x<a>b<a y"),
              ElementsAre(Pair("x", -1), Pair("<a>", 2), Pair("b", 3), Pair("<a", 1), Pair(" y", -1)));
  EXPECT_THAT(cut(tokens, ""), IsEmpty());
}

TEST(AddedTokens, TakeSpaceAlongWhenAsked) {
  EXPECT_THAT(cut({{.content = "<l>", .lstrip = true, .id = 1}}, "a \u3000<l> b"),
              ElementsAre(Pair("a", -1), Pair(" \u3000<l>", 1), Pair(" b", -1)));
  EXPECT_THAT(cut({{.content = "<r>", .rstrip = true, .id = 1}}, "a <r>\t\n<r> b"),
              ElementsAre(Pair("a ", -1), Pair("<r>\t\n", 1), Pair("<r> ", 1), Pair("b", -1)));
}

TEST(AddedTokens, LeaveSingleWordsInsideOtherWordsAlone) {
  const std::vector<AddedToken> tokens = {{.content = "cat", .single_word = true, .id = 1}};
  EXPECT_THAT(cut(tokens, "cat, cats bobcat \u00E9cat cat\u0301"),
              ElementsAre(Pair("cat", 1), Pair(", cats bobcat \u00E9cat cat\u0301", -1)));
}

TEST(BytePair, MergesTheEarliestRankThenTheLeftmost) {
  const Vocabulary vocabulary = {{"a", 0},  {"b", 1},  {"a</w>", 2},  {"b</w>", 3},
                                 {"aa", 4}, {"ab", 5}, {"aaa</w>", 6}};
  const auto ids = [&](std::vector<BytePair::Merge> merges, std::string_view word) {
    std::vector<int> result;
    BytePair::create(vocabulary, merges, 9)->append_ids(word, result);
    return result;
  };
  EXPECT_THAT(ids({}, "ab"), ElementsAre(0, 3));
  EXPECT_THAT(ids({{"a", "a"}, {"aa", "a</w>"}}, "aaa"), ElementsAre(6));
  EXPECT_THAT(ids({{"a", "a"}}, "aaaa"), ElementsAre(4, 0, 2));
  EXPECT_THAT(ids({{"a", "b"}, {"a", "a"}}, "aaba"), ElementsAre(0, 5, 2));
  EXPECT_THAT(ids({{"a", "a"}, {"a", "b"}}, "aaba"), ElementsAre(4, 1, 2));
  EXPECT_THAT(ids({}, "a?b"), ElementsAre(0, 9, 3));  // no symbol for "?"
  EXPECT_THAT(ids({}, ""), IsEmpty());
}

TEST(BytePair, ForgetsAMergeWhoseRightSymbolHasGrown) {
  const Vocabulary vocabulary = {{"a", 0},  {"b", 1},  {"c", 2},       {"d</w>", 3},
                                 {"bc", 4}, {"ab", 5}, {"bcd</w>", 6}, {"abc", 7}};
  // "b c" comes first; then "a b" is no longer there, and must not make "a bc" jump the queue.
  const std::vector<BytePair::Merge> merges = {{"b", "c"}, {"a", "b"}, {"bc", "d</w>"}, {"a", "bc"}};
  std::vector<int> ids;
  BytePair::create(vocabulary, merges, 9)->append_ids("abcd", ids);
  EXPECT_THAT(ids, ElementsAre(0, 6));
}

TEST(BytePair, SpellsBytesAsGpt2Does) {
  // U+0100 stands for byte 0, U+0120 for the space, U+0143 for byte 173; printable Latin-1 stands for itself.
  const Vocabulary vocabulary = {{"\u0100", 0}, {"\u0120", 1}, {"\u0143", 2}, {"\u00FF", 3}, {"~</w>", 4}};
  std::vector<int> ids;
  BytePair::create(vocabulary, {}, 9)->append_ids(std::string_view("\0 \xAD\xFF~", 5), ids);
  EXPECT_THAT(ids, ElementsAre(0, 1, 2, 3, 4));
}

TEST(Unigram, FindsTheMostProbableSpelling) {
  const Unigram unigram({{"<unk>", 0}, {"a", -1}, {"b", -1}, {"ab", -1.5}, {"abb", -3}, {"bb", -1.4}}, 0);
  std::vector<int> ids;
  unigram.append_ids("abb", ids);
  EXPECT_THAT(ids, ElementsAre(1, 5));  // -2.4 against -2.5 and -3
  unigram.append_ids("ab", ids);
  EXPECT_THAT(ids, ElementsAre(1, 5, 3));  // appends
}

TEST(Unigram, KeepsTheSpellingWithTheLongerLastPieceOfEquallyProbableOnes) {
  std::vector<int> ids;
  Unigram({{"<unk>", 0}, {"a", -1}, {"ab", -2}, {"bc", -2}, {"c", -1}}, 0).append_ids("abc", ids);
  EXPECT_THAT(ids, ElementsAre(1, 3));
}

TEST(Unigram, FusesUnknownNeighbours) {
  std::vector<int> ids;
  Unigram({{"<unk>", 0}, {"a", -1}}, 0).append_ids("\u00E9\u4E2Da\u00E9<unk>\u00E9a", ids);
  EXPECT_THAT(ids, ElementsAre(0, 1, 0, 1));
}

TEST(Unicode, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(valid_utf8("a\u00E9\u4E2D\U0001F600"), "a\u00E9\u4E2D\U0001F600");
  EXPECT_EQ(valid_utf8(std::string_view("\0", 1)), std::string_view("\0", 1));
  EXPECT_EQ(valid_utf8("\xE4\xB8"), "\uFFFD");
  EXPECT_EQ(valid_utf8("\xFF\x80\x41"), "\uFFFD\uFFFD\x41");
}

TEST(Unicode, LowersEachCodePointByItself) {
  const auto lower = [](char32_t code_point) {
    std::string text;
    append_lower_case(text, code_point);
    return text;
  };
  EXPECT_EQ(lower(U'\u00C9'), "\u00E9");
  EXPECT_EQ(lower(U'\u03A3'), "\u03C3");  // never the final sigma
  EXPECT_EQ(lower(U'\u0130'), "i\u0307");
  EXPECT_EQ(lower(U'\u1E9E'), "\u00DF");
}

TEST(Unicode, ComposesByTheTablesOfUnicode9) {
  const Composer composer;
  EXPECT_EQ(composer.compose("e\u0301"), "\u00E9");
  EXPECT_EQ(composer.compose("a\u0316\u0301\u0345"), "\u00E1\u0316\u0345");
  EXPECT_EQ(composer.compose("\U00011935\U00011930"), "\U00011935\U00011930");  // composes since Unicode 13
  EXPECT_EQ(composer.compose("a\u0345\u1AC1"), "a\u0345\u1AC1");                // reordered since Unicode 14
}

TEST(Charsmap, RefusesSizesThatDoNotFit) {
  for (const std::string& blob : {std::string(3, '\0'), std::string(4, '\0'),
                                  std::string("\x10\0\0\0abcd", 8), std::string("\4\0\0\0\0\0\0\0\xFF", 9)}) {
    const auto charsmap = Charsmap::parse(blob);
    ASSERT_FALSE(charsmap);
    EXPECT_EQ(charsmap.error().code, ErrorCode::data_loss);
  }
}

TEST(Charsmap, LeavesTextAloneWhenItHasNoEntries) {
  const auto charsmap = Charsmap::parse(std::string_view("\4\0\0\0\0\0\0\0", 8));
  ASSERT_TRUE(charsmap);
  EXPECT_EQ(charsmap->normalise("e\u0301 \U0001F469\u200D\U0001F680\r\n"),
            "e\u0301 \U0001F469\u200D\U0001F680\r\n");
}

}  // namespace
}  // namespace diffused::tokenizers
