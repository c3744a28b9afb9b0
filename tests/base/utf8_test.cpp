#include "base/utf8.h"

#include <gtest/gtest.h>

namespace diffused {
namespace {

TEST(Utf8, KnowsWhatIsWellFormed) {
  for (const char* good : {"", "a", "é", "€", "\U0001F600", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad :
       {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "\xff"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(Utf8, MarksEachByteOfNoCharacter) {
  EXPECT_EQ(to_utf8("a\xff\xc3\xa9\xc3"), "a\xEF\xBF\xBD\xc3\xa9\xEF\xBF\xBD");
  EXPECT_EQ(to_utf8("\xed\xa0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(to_utf8(""), "");
}

}  // namespace
}  // namespace diffused
