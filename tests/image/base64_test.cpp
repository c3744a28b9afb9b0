#include "image/base64.h"

#include <gtest/gtest.h>

namespace diffused {
namespace {

TEST(Base64, EncodesTheVectorsOfRfc4648) {
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("f"), "Zg==");
  EXPECT_EQ(to_base64("fo"), "Zm8=");
  EXPECT_EQ(to_base64("foobar"), "Zm9vYmFy");
}

TEST(Base64, GivesBackAnyBytesAtAnyLength) {
  for (const std::size_t size : {1u, 2u, 3u, 255u, 3u << 20, (3u << 20) + 1, 7'000'001u}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31);
    const auto back = from_base64(to_base64(bytes));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, bytes) << size;
  }
}

TEST(Base64, AcceptsTheVariantsClientsSend) {
  EXPECT_EQ(from_base64("Zm8").value(), "fo");
  EXPECT_EQ(from_base64(" Zm9v\r\nYmFy ").value(), "foobar");
  EXPECT_EQ(from_base64("-_-_").value(), from_base64("+/+/").value());
  EXPECT_EQ(from_base64("").value(), "");
}

TEST(Base64, RefusesEverythingElse) {
  for (const char* text : {"Z", "Zm9vY", "Zg=a", "Zg===", "====", "Zm9v!", "Zm9v\x80", "data:,x"})
    EXPECT_FALSE(from_base64(text)) << text;
}

TEST(DataUrl, GivesItsBytes) {
  EXPECT_EQ(from_data_url("data:image/png;base64,Zm9v").value(), "foo");
  EXPECT_EQ(from_data_url("Zm9v").value(), "foo");
}

TEST(DataUrl, RefusesWhatIsNotBase64) {
  for (const char* text : {"data:image/png,foo", "data:image/png;base64", "data:", "data:;base64,!"}) {
    const auto bytes = from_data_url(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().reason, "invalid_base64");
  }
}

}  // namespace
}  // namespace diffused
