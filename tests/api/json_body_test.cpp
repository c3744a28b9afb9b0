#include "api/json_body.h"

#include <gtest/gtest.h>

namespace diffused::api {
namespace {

std::string list_of(std::size_t count, const std::string& item) {
  std::string text = "{\"a\":[";
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + item;
  return text + "]}";
}

// The object and the list are values, too.
TEST(JsonBody, HoldsSoManyValuesAndNoMore) {
  for (const char* item : {"0", "-1", "18446744073709551615", "1.5", "{}", "[]", "\"\"", "null", "true"}) {
    EXPECT_TRUE(parse_object(list_of(kJsonValuesMax - 2, item))) << item;
    const auto refused = parse_object(list_of(kJsonValuesMax - 1, item));
    ASSERT_FALSE(refused) << item;
    EXPECT_EQ(refused.error().code, ErrorCode::payload_too_large);
    EXPECT_EQ(refused.error().reason, "json_too_large");
  }
  std::string nested;
  for (int i = 0; i < 31; ++i) nested += "{\"a\":";
  EXPECT_TRUE(parse_object(nested + "1" + std::string(31, '}')));
  EXPECT_EQ(parse_object("{\"a\":{\"a\":" + nested + "1" + std::string(33, '}')).error().reason,
            "invalid_json");
}

TEST(JsonBody, HoldsNoLongKeys) {
  const std::string longest(kJsonKeyBytesMax, 'k');
  EXPECT_TRUE(parse_object("{\"" + longest + "\":1}"));
  EXPECT_EQ(parse_object("{\"" + longest + "k\":1}").error().reason, "json_too_large");
  // In pieces, as the parser hands over what holds escapes.
  std::string escaped;
  for (std::size_t i = 0; i < kJsonKeyBytesMax / 2 + 1; ++i) escaped += "k\\n";
  EXPECT_EQ(parse_object("{\"" + escaped + "\":1}").error().reason, "json_too_large");
}

TEST(JsonBody, NamesAKeyThatStandsTwice) {
  const auto refused = parse_object(R"({"a":1,"b":{"a":1},"a":2})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "duplicate_key");
  EXPECT_EQ(refused.error().field, "a");
}

}  // namespace
}  // namespace diffused::api
