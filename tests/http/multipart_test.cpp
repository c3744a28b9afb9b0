#include "http/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffused::http {
namespace {

constexpr char kType[] = "multipart/form-data; boundary=b";

std::string part(const std::string& header, const std::string& data) {
  return "--b\r\nContent-Disposition: form-data; " + header + "\r\n\r\n" + data + "\r\n";
}

std::string reason_of(const Result<std::vector<Part>>& parts) {
  return parts ? "none" : parts.error().reason;
}

TEST(Multipart, ReadsFieldsAndFilesInOrder) {
  const std::string png("\x89PNG\r\n\0--b\r\n--", 13);  // comes close to the boundary
  const std::string body = part("name=\"mask\"; filename=\"m.png\"\r\nContent-Type: Image/PNG; x=y", png) +
                           part("name=prompt", "a cat\r\n\r\non a mat") + part("name=\"image[]\"", "") +
                           "--b--\r\n";
  const auto parts = parse_multipart(kType, body);
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(parts->size(), 3u);
  EXPECT_EQ((*parts)[0].name, "mask");
  EXPECT_EQ((*parts)[0].filename, "m.png");
  EXPECT_EQ((*parts)[0].content_type, "image/png");
  EXPECT_EQ((*parts)[0].data, png);
  EXPECT_EQ((*parts)[1].name, "prompt");
  EXPECT_EQ((*parts)[1].data, "a cat\r\n\r\non a mat");
  EXPECT_EQ((*parts)[2].name, "image[]");
  EXPECT_EQ((*parts)[2].data, "");
}

TEST(Multipart, ReadsQuotedBoundariesPreambleEpilogueAndPadding) {
  const std::string body =
      "preamble\r\n--x y  \t\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x y--\r\nepilogue";
  const auto parts = parse_multipart("Multipart/Form-Data; charset=utf-8; Boundary=\"x y\"", body);
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_EQ(parts->front().data, "1");
}

TEST(Multipart, ReadsNamesAsClientsEscapeThem) {
  const auto name_of = [](const std::string& written) {
    const std::string body = part("name=" + written, "1") + "--b--";
    const auto parts = parse_multipart(kType, body);
    return parts ? parts->front().name : parts.error().message;
  };
  EXPECT_EQ(name_of("\"a%22b\""), "a\"b");
  EXPECT_EQ(name_of("\"a\\\"b;c=d\""), "a\"b;c=d");
  EXPECT_EQ(name_of("\"C:\\temp\\a.png\""), "C:\\temp\\a.png");
  EXPECT_EQ(name_of("\"50%\""), "50%");
  EXPECT_EQ(name_of("\"a\" ; filename=\"\""), "a");
}

TEST(Multipart, ReadsAFormWithoutParts) {
  const auto parts = parse_multipart(kType, "--b--\r\n");
  ASSERT_TRUE(parts);
  EXPECT_TRUE(parts->empty());
}

TEST(Multipart, RefusesWhatIsCutShort) {
  const std::string whole = part("name=a", "1") + part("name=b; filename=c", "22") + "--b--";
  ASSERT_TRUE(parse_multipart(kType, whole));
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_EQ(reason_of(parse_multipart(kType, std::string_view(whole).substr(0, bytes))),
              "invalid_multipart")
        << bytes;
}

TEST(Multipart, RefusesMalformedForms) {
  const auto reason = [](const std::string& body) { return reason_of(parse_multipart(kType, body)); };
  const std::string end = "--b--";
  EXPECT_EQ(reason("--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + end), "invalid_multipart");
  EXPECT_EQ(reason("--b\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n" + end), "invalid_multipart");
  EXPECT_EQ(reason("--b\r\nContent-Type: text/plain\r\n\r\n1\r\n" + end), "invalid_multipart");
  EXPECT_EQ(reason("--b\r\nno colon\r\n\r\n1\r\n" + end), "invalid_multipart");
  EXPECT_EQ(reason("--bx\r\n\r\n1\r\n" + end), "invalid_multipart");
  EXPECT_EQ(reason("--b\nContent-Disposition: form-data; name=a\n\n1\n--b--"), "invalid_multipart");
  EXPECT_EQ(reason(part("name=\"a", "1") + end), "invalid_multipart");
  EXPECT_EQ(reason(part("name=a\r\nContent-Transfer-Encoding: base64", "1") + end), "invalid_multipart");
  EXPECT_EQ(reason(""), "invalid_multipart");
}

TEST(Multipart, RefusesTypesThatNameNoBoundary) {
  for (const std::string& type :
       {std::string("multipart/form-data"), std::string("multipart/form-data; boundary="),
        "multipart/form-data; boundary=" + std::string(71, 'b'), std::string("multipart/mixed; boundary=b"),
        std::string("application/json"), std::string("")})
    EXPECT_EQ(reason_of(parse_multipart(type, "--b--")), "invalid_multipart") << type;
  EXPECT_TRUE(is_multipart("Multipart/form-data; boundary=b"));
  EXPECT_FALSE(is_multipart("application/json"));
  EXPECT_FALSE(is_multipart("multipart/form-data; boundary=\"b"));
}

TEST(Multipart, BoundsPartsAndTheirHeaders) {
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += part("name=a", "");
  EXPECT_EQ(reason_of(parse_multipart(kType, many + "--b--")), "multipart_too_large");
  EXPECT_EQ(reason_of(parse_multipart(kType, part("name=a\r\nX: " + std::string(5000, 'x'), "") + "--b--")),
            "multipart_too_large");
}

}  // namespace
}  // namespace diffused::http
