#include "weights/header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/safetensors.h"

namespace diffused::weights {
namespace {

using test::safetensors_file;
using ::testing::HasSubstr;

std::string refusal(const std::string& file) {
  const auto header = read_header(file);
  return header ? "accepted" : header.error().message;
}
std::string refusal(const std::string& json, std::size_t data_bytes) {
  return refusal(safetensors_file(json, std::string(data_bytes, '\0')));
}

TEST(Header, ReadsEveryDtypeInFileOrder) {
  const auto header =
      read_header(safetensors_file({{"b", at::zeros({2, 3}, at::kBFloat16)},
                                    {"a", at::zeros({4}, at::kLong)},
                                    {"scalar", at::zeros({}, at::kFloat)},
                                    {"none", at::zeros({0, 7}, at::kHalf)},
                                    {"f8", at::zeros({3}, at::kFloat).to(at::kFloat8_e4m3fn)},
                                    {"f8b", at::zeros({3}, at::kFloat).to(at::kFloat8_e5m2)}}));
  ASSERT_TRUE(header) << header.error().message;
  const auto& entries = header->entries;
  ASSERT_EQ(entries.size(), 6u);
  const Entry& first = entries.front();
  EXPECT_EQ(first.name, "b");
  EXPECT_EQ(first.dtype, at::kBFloat16);
  EXPECT_EQ(first.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(first.end - first.begin, 12u);
  EXPECT_EQ(entries[4].dtype, at::kFloat8_e4m3fn);
  EXPECT_EQ(entries[5].dtype, at::kFloat8_e5m2);
}

TEST(Header, KeepsWhatTheFileSaysOfItself) {
  const auto header = read_header(safetensors_file(R"({"__metadata__":{"format":"pt","a":"b"}})", ""));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->metadata, (std::map<std::string, std::string>{{"a", "b"}, {"format", "pt"}}));
}

TEST(Header, AnEmptyFileOfTensorsIsFine) { EXPECT_EQ(refusal("{}", 0), "accepted"); }

TEST(Header, RecognisesAGitLfsPointer) {
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
              HasSubstr("half-downloaded: a git-lfs pointer"));
}

TEST(Header, SaysWhatTheFileIsInstead) {
  EXPECT_THAT(refusal("GGUF\x03" + std::string(20, '\0')), HasSubstr("a GGUF file"));
  EXPECT_THAT(refusal("PK\x03\x04" + std::string(20, '\0')), HasSubstr("a pickled checkpoint"));
  EXPECT_THAT(refusal("\n <!DOCTYPE html><html>"), HasSubstr("an HTML page"));
  EXPECT_THAT(refusal("<HTML><head>"), HasSubstr("an HTML page"));
  EXPECT_THAT(refusal("{\"error\": \"Invalid username or password.\"}"), HasSubstr("a JSON text"));
  // A header of 640 bytes begins like a pickle.
  const std::string json = "{}" + std::string(638, ' ');
  EXPECT_EQ(refusal(json, 0), "accepted");
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1),
              HasSubstr("tensor 'a' is of type 'F4', which is not read here"));
}

TEST(Header, RefusesWrongLengths) {
  EXPECT_THAT(refusal("\1\2\3"), HasSubstr("truncated"));
  EXPECT_THAT(refusal(std::string("\x40\0\0\0\0\0\0\0{}", 10)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(std::string(8, '\xff') + "{}"), HasSubstr("its length is given as"));
  EXPECT_THAT(refusal(std::string(8, '\0')), HasSubstr("not a safetensors file"));
}

TEST(Header, RefusesWhatIsNotTheExpectedJson) {
  EXPECT_THAT(refusal("[]", 0), HasSubstr("not a safetensors file"));
  EXPECT_THAT(refusal("{\"a\"}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{} x", 0), HasSubstr("follows"));
  EXPECT_THAT(refusal("{\"a\xff\":{}}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("are needed"));
  for (const char* json :
       {R"({"a":1})", R"({"a":null})", R"({"a":[1]})", R"({"a":"F32"})", R"({"__metadata__":[]})",
        R"({"__metadata__":{"a":{}}})", R"({"__metadata__":{"a":1}})",
        R"({"a":{"dtype":true,"shape":[],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})",
        R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})",
        R"({"a":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})",
        R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})"}) {
    EXPECT_THAT(refusal(json, 4), HasSubstr("where none belongs")) << json;
  }
}

TEST(Header, RefusesNamesAndFieldsGivenTwice) {
  const std::string one = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(refusal("{" + one + "," + one + "}", 1), HasSubstr("'a': a name given twice"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("a field given twice"));
  EXPECT_THAT(refusal(R"({"a\nb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("control"));
}

TEST(Header, RefusesNumbersThatWrapOrLie) {
  const auto with = [](const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}}";
  };
  // 2^31 * 2^31 * 4 bytes is 2^64: zero, if it wraps.
  EXPECT_THAT(refusal(with("2147483648,2147483648", "0,0"), 0), HasSubstr("do not match its shape"));
  EXPECT_THAT(refusal(with("4294967296,4294967296", "0,0"), 0), HasSubstr("past 2^31"));
  EXPECT_THAT(refusal(with("18446744073709551616", "0,0"), 0), HasSubstr("not whole"));
  EXPECT_THAT(refusal(with("1.5", "0,4"), 4), HasSubstr("not whole"));
  EXPECT_THAT(refusal(with("-1", "0,4"), 4), HasSubstr("negative"));
  EXPECT_THAT(refusal(with("1", "4,0"), 4), HasSubstr("starts at byte 4"));
  EXPECT_THAT(refusal(with("2", "0,4"), 4), HasSubstr("do not match its shape"));
  EXPECT_THAT(refusal(with("1", "0,4,8"), 4), HasSubstr("two numbers"));
  EXPECT_THAT(refusal(with("1", "0"), 4), HasSubstr("two numbers"));
  EXPECT_THAT(refusal(with("2", "0,8"), 4), HasSubstr("truncated"));
  EXPECT_THAT(refusal(with("1", "0,4"), 5), HasSubstr("1 bytes follow"));
  EXPECT_THAT(refusal(with("1,1,1,1,1,1,1,1,1", "0,4"), 4), HasSubstr("more than 8 dimensions"));
}

TEST(Header, RefusesOverlapsHolesAndUnknownDtypes) {
  const auto two = [](const std::string& second_offsets) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[)" +
           second_offsets + "]}}";
  };
  EXPECT_EQ(refusal(two("4,8"), 8), "accepted");
  EXPECT_THAT(refusal(two("3,7"), 8), HasSubstr("tensor 'b' starts at byte 3 of the data, expected 4"));
  EXPECT_THAT(refusal(two("5,9"), 9), HasSubstr("tensor 'b' starts at byte 5 of the data, expected 4"));
  EXPECT_THAT(refusal(two("0,4"), 4), HasSubstr("expected 4"));
  const auto unknown = read_header(
      safetensors_file(R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", std::string(1, '\0')));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
}

TEST(Header, RefusesTooManyTensors) {
  std::string json = "{";
  for (std::size_t i = 0; i <= kTensorsMax; ++i) {
    json += (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_THAT(refusal(json + "}", 0), HasSubstr("more than 100000 tensors"));
}

}  // namespace
}  // namespace diffused::weights
