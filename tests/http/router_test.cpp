#include "http/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffused::http {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

Router make_router() {
  return Router({{"GET", "/", nullptr},
                 {"GET", "/v1/images/{name}", nullptr, 0, nullptr, {"/images/{name}"}},
                 {"POST", "/v1/images/edits", nullptr},
                 {"GET", "/v1/images/edits", nullptr},
                 {"GET", "/files/{path*}", nullptr},
                 {"DELETE", "/v1/images/{name}", nullptr}});
}

std::string pattern_of(const Router::Lookup& lookup) { return lookup.route ? lookup.route->pattern : "none"; }

TEST(Router, FindsLiteralsBeforeParameters) {
  const Router router = make_router();
  EXPECT_EQ(pattern_of(router.find("GET", {"v1", "images", "edits"})), "/v1/images/edits");
  const auto named = router.find("GET", {"v1", "images", "other"});
  EXPECT_EQ(pattern_of(named), "/v1/images/{name}");
  EXPECT_THAT(named.parameters, ElementsAre(Pair("name", "other")));
  EXPECT_EQ(pattern_of(router.find("GET", {})), "/");
}

TEST(Router, GivesARestParameterTheRestOfThePath) {
  EXPECT_THAT(make_router().find("GET", {"files", "a", "b"}).parameters, ElementsAre(Pair("path", "a/b")));
  EXPECT_EQ(pattern_of(make_router().find("GET", {"files"})), "none");
}

// A slash that arrived as %2F is inside one segment: no literal can match it.
TEST(Router, GivesADecodedSlashToParametersAlone) {
  EXPECT_THAT(make_router().find("GET", {"images", "a/b"}).parameters, ElementsAre(Pair("name", "a/b")));
  EXPECT_EQ(pattern_of(make_router().find("GET", {"v1/images", "edits"})), "none");
}

TEST(Router, HeadFollowsGet) {
  EXPECT_EQ(pattern_of(make_router().find("HEAD", {"images", "x"})), "/v1/images/{name}");
}

TEST(Router, ListsTheMethodsOfAPath) {
  const auto lookup = make_router().find("PUT", {"v1", "images", "edits"});
  EXPECT_EQ(lookup.route, nullptr);
  EXPECT_THAT(lookup.allowed, ElementsAre("DELETE", "GET", "HEAD", "OPTIONS", "POST"));
  EXPECT_THAT(make_router().find("GET", {"nowhere"}).allowed, IsEmpty());
}

TEST(RouterDeathTest, RefusesTwinsAndRelativePatterns) {
  EXPECT_DEATH(Router({{"GET", "/a/{b}", nullptr}, {"GET", "/a/{c}", nullptr}}), "stands twice");
  EXPECT_DEATH(Router({{"GET", "a", nullptr}}), "starts_with");
}

}  // namespace
}  // namespace diffused::http
