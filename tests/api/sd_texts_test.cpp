// A1111's texts: of pictures, and of styles.
#include <gtest/gtest.h>

#include "api/sdapi/infotext.h"
#include "api/sdapi/styles.h"

namespace diffused::api {
namespace {

namespace json = boost::json;

TEST(SdStyles, AreReadAsA1111WritesThem) {
  const auto styles = parse_styles(
      "\xEF\xBB\xBFname,prompt,negative_prompt\r\nplain,\"a, \"\"b\"\"\nc\",\r\n\nshort,x\r\nlast,\"\",no");
  ASSERT_TRUE(styles) << styles.error().message;
  ASSERT_EQ(styles->size(), 3u);
  EXPECT_EQ((*styles)[0].prompt, "a, \"b\"\nc");
  EXPECT_EQ((*styles)[1].negative_prompt, "");
  EXPECT_EQ((*styles)[2].negative_prompt, "no");
  EXPECT_EQ(parse_styles("name,text\nold,words")->front().prompt, "words");
  for (const auto& [bad, why] : {std::pair{"", "it is empty"},
                                 {"a,b\nc,d", "line 1"},
                                 {"name,prompt\n\n,x", "line 3"},
                                 {"name,prompt\na,\"x", "line 2"}}) {
    const auto refused = parse_styles(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().message.find(why), 0u) << refused.error().message;
  }
}

TEST(Infotext, IsReadWhateverItLooksLike) {
  const auto read = [](std::string_view text, std::string_view key) {
    const json::object settings = parse_infotext(text);
    const auto* value = settings.if_contains({key.data(), key.size()});
    return value ? std::string(value->get_string()) : std::string("(none)");
  };
  EXPECT_EQ(read("", "Prompt"), "");
  EXPECT_EQ(read("just words", "Prompt"), "just words");
  EXPECT_EQ(read("Steps: 3, Size: 1x", "Size"), "1x");
  EXPECT_EQ(read("Steps: 3", "Prompt"), "");
  EXPECT_EQ(read("x\nSteps: 20, Note: \"a, b: c\", Seed: 1", "Note"), "\"a, b: c\"");
  EXPECT_EQ(read("x\nSteps: 20, Note: \"a, Seed: 1", "Seed"), "(none)");
  EXPECT_EQ(read("Negative prompt: n\nSteps: 1", "Negative prompt"), "n");
  EXPECT_EQ(read("Negative prompt:", "Prompt"), "Negative prompt:");
  EXPECT_EQ(read("x\nSteps: ,,:,", "Prompt"), "x");
}

}  // namespace
}  // namespace diffused::api
