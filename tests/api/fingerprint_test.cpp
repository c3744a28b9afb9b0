#include "api/openai/fingerprint.h"

#include <gtest/gtest.h>

#include <chrono>

namespace diffused::api {
namespace {

http::Request form(const std::string& boundary,
                   const std::vector<std::pair<std::string, std::string>>& fields) {
  http::Request request;
  request.path = "/v1/images/edits";
  request.headers = {{"idempotency-key", "k"}, {"content-type", "multipart/form-data; boundary=" + boundary}};
  for (const auto& [name, value] : fields)
    request.body += "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
                    value + "\r\n";
  request.body += "--" + boundary + "--\r\n";
  return request;
}

TEST(Fingerprint, IsThatOfTheFormAndNotOfItsBoundary) {
  const std::string one = fingerprint_of(form("abc", {{"prompt", "a kitten"}, {"n", "1"}}));
  EXPECT_EQ(one, fingerprint_of(form("xyz", {{"prompt", "a kitten"}, {"n", "1"}})));
  EXPECT_NE(one, fingerprint_of(form("abc", {{"prompt", "a kitten"}, {"n", "2"}})));
  EXPECT_NE(one, fingerprint_of(form("abc", {{"n", "1"}, {"prompt", "a kitten"}})));
  EXPECT_NE(one, fingerprint_of(form("abc", {{"prompt", "a kittenn"}, {"", "1"}})));
  auto elsewhere = form("abc", {{"prompt", "a kitten"}, {"n", "1"}});
  elsewhere.path = "/v1/images/variations";
  EXPECT_NE(one, fingerprint_of(elsewhere));
}

TEST(Fingerprint, IsOfAllOfAJsonBody) {
  http::Request request;
  request.path = "/v1/images/generations";
  EXPECT_EQ(fingerprint_of(request), "");  // nobody asks for it
  request.headers = {{"idempotency-key", "k"}, {"content-type", "application/json"}};
  request.body = R"({"prompt": "x"})";
  const std::string one = fingerprint_of(request);
  EXPECT_EQ(one.size(), 64u);
  request.body += " ";
  EXPECT_NE(fingerprint_of(request), one);
}

// It was quadratic in this: hours for the largest body.
TEST(Fingerprint, TakesItsTimeByTheLengthAlone) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_NE(fingerprint_of(form("a", {{"prompt", std::string(8 << 20, 'a')}})), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace diffused::api
