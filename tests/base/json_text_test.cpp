#include "base/json_text.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <limits>

namespace diffused {
namespace {

namespace json = boost::json;

TEST(JsonText, WritesNumbersAsPeopleDo) {
  EXPECT_EQ(json_text(json::array{4.0, 0.1, -2.5, 0.00028, 1e20, 1e-7, 7, std::uint64_t(-1)}),
            "[4,0.1,-2.5,0.00028,1e+20,1e-07,7,18446744073709551615]");
  EXPECT_EQ(json_text(json::array{std::numeric_limits<double>::quiet_NaN(),
                                  -std::numeric_limits<double>::infinity()}),
            "[null,null]");
}

TEST(JsonText, IsUtf8WhateverItIsGiven) {
  EXPECT_EQ(json_text(json::array{"a\xFF"
                                  "b",
                                  "caf\xC3\xA9", "\xED\xA0\x80", "\xC3"}),
            "[\"a\uFFFDb\",\"café\",\"\uFFFD\uFFFD\uFFFD\",\"\uFFFD\"]");
  EXPECT_EQ(json_text(json::object{{"k\xFE", 1}}), "{\"k\uFFFD\":1}");
}

TEST(JsonText, ReadsBackAsTheSameValue) {
  for (const char* text :
       {R"({"a":[],"b":{},"c":[[],{},[1,[2]]],"d":{"e":{"f":null}}})", R"(["{","[",",","\"\\\u0001\n","ü😀"])",
        "true", "null", R"("")", "-9223372036854775808"}) {
    EXPECT_EQ(json::parse(json_text(json::parse(text))), json::parse(text)) << text;
  }
  EXPECT_EQ(json_text(json::parse(R"(["[",{"{":"{"},1])")), R"(["[",{"{":"{"},1])");
}

}  // namespace
}  // namespace diffused
