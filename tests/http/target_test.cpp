#include "http/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffused::http {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Target, DecodesSegmentsAndCollapsesSlashes) {
  const auto target = parse_target("//v1///models/org%2Fname:tag/");
  ASSERT_TRUE(target);
  EXPECT_THAT(target->segments, ElementsAre("v1", "models", "org/name:tag"));
  EXPECT_EQ(target->path, "/v1/models/org/name:tag");
  EXPECT_EQ(parse_target("/")->path, "/");
  EXPECT_EQ(parse_target("/?a")->path, "/");
  EXPECT_THAT(parse_target("/caf%C3%A9")->segments, ElementsAre("café"));
}

TEST(Target, DecodesTheQuery) {
  const auto target = parse_target("/x?a=1&b=x+y%26z&a=2&flag&=e&&c==");
  ASSERT_TRUE(target);
  EXPECT_THAT(target->query, ElementsAre(Pair("", "e"), Pair("a", "2"), Pair("b", "x y&z"), Pair("c", "="),
                                         Pair("flag", "")));
}

TEST(Target, TakesTheHostOfAnAbsoluteForm) {
  const auto target = parse_target("http://host:80/x?q=1");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->authority, "host:80");
  EXPECT_EQ(target->path, "/x");
  EXPECT_EQ(parse_target("https://host?q=1")->path, "/");
}

TEST(Target, RefusesWhatCouldBeReadInTwoWays) {
  for (const char* text :
       {"",        "x",          "*",     "/a/../b",  "/..",    "/%2e%2e/", "/a%2f../b", "/a%2F..", "/..%2f",
        "/a\\b",   "/a%5cb",     "/a%00", "/a%0a",    "/a%7f",  "/%",       "/%2",       "/%g0",    "/%ff",
        "/%c0%af", "/%ed%a0%80", "/x#y",  "/x?a=%00", "/x?%zz", "ftp://a/", "http:///x", "http://"})
    EXPECT_FALSE(parse_target(text)) << text;
}

}  // namespace
}  // namespace diffused::http
