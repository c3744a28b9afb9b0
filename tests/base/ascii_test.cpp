#include "base/ascii.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace diffused {
namespace {

TEST(Ascii, LettersAreEqualInEitherCase) {
  EXPECT_TRUE(iequals("", ""));
  EXPECT_TRUE(iequals("Transfer-Encoding", "transfer-encodinG"));
  EXPECT_FALSE(iequals("chunked", "chunke"));
  EXPECT_FALSE(iequals("chunked", "chunkee"));
  EXPECT_FALSE(iequals("[", "{"));
  EXPECT_FALSE(iequals("\xC4", "\xE4"));  // letters of other alphabets are bytes
}

// Of texts that end with their memory: the address sanitizer sees a read past it.
TEST(Ascii, NothingIsReadPastTheEnd) {
  const std::string_view words = "aPp.example:8443";
  const auto exact = std::make_unique<char[]>(words.size());
  std::ranges::copy(words, exact.get());
  EXPECT_TRUE(iequals({exact.get(), words.size()}, "app.example:8443"));
}

}  // namespace
}  // namespace diffused
