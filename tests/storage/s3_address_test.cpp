#include "storage/s3_address.h"

#include <gtest/gtest.h>

#include <map>

namespace diffused::storage {
namespace {

Result<S3Address> read(const std::string& url, const std::string& endpoint = "",
                       std::map<std::string, std::string> more = {}) {
  more.insert({{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "secret"}});
  return read_s3_address(url, endpoint, [&](const char* name) -> std::optional<std::string> {
    const auto found = more.find(name);
    if (found == more.end() || found->second.empty()) return std::nullopt;
    return found->second;
  });
}

TEST(S3Address, IsAmazonsUnlessAnEndpointIsNamed) {
  const auto amazon = read("s3://bucket/a/b/", "", {{"AWS_DEFAULT_REGION", "eu-central-1"}});
  ASSERT_TRUE(amazon) << amazon.error().message;
  EXPECT_EQ(amazon->endpoint + amazon->path("x"), "https://bucket.s3.eu-central-1.amazonaws.com/a/b/x");
  EXPECT_EQ(amazon->endpoint + amazon->path(""), "https://bucket.s3.eu-central-1.amazonaws.com/");
  EXPECT_EQ(amazon->host, "bucket.s3.eu-central-1.amazonaws.com");
  const auto other = read("s3://bucket", "http://127.0.0.1:9000/", {{"AWS_REGION", "here"}});
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(other->endpoint + other->path("x"), "http://127.0.0.1:9000/bucket/x");
  EXPECT_EQ(other->path(""), "/bucket");
  EXPECT_EQ(other->host, "127.0.0.1:9000");
  EXPECT_EQ(other->region, "here");
  const auto variable = read("s3://bucket", "", {{"AWS_ENDPOINT_URL", "https://minio:443"}});
  ASSERT_TRUE(variable) << variable.error().message;
  EXPECT_EQ(variable->host, "minio");
}

TEST(S3Address, TakesABucketWithDotsIntoThePathWhereCertificatesWouldNotHold) {
  EXPECT_EQ(read("s3://my.bucket")->host, "s3.us-east-1.amazonaws.com");
  EXPECT_EQ(read("s3://my.bucket")->path("x"), "/my.bucket/x");
}

TEST(S3Address, SaysWhatIsWrong) {
  for (const char* const url : {"s3://", "s3://a", "s3://Bucket", "s3://bu_cket", "s3://bucket//x",
                                "s3://bucket/../x", "s3://bucket/a b", "s3://-bucket", "s3://bucket/x?y"})
    EXPECT_FALSE(read(url)) << url;
  for (const char* const endpoint :
       {"minio:9000", "ftp://minio", "http://", "http://minio/path", "http://me@minio"}) {
    const auto refused = read("s3://bucket", endpoint);
    ASSERT_FALSE(refused) << endpoint;
    EXPECT_NE(refused.error().message.find("--blobs-endpoint"), std::string::npos);
  }
  for (const char* const name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
    EXPECT_NE(read("s3://bucket", "", {{name, ""}}).error().message.find(name), std::string::npos);
  EXPECT_FALSE(read("s3://bucket", "", {{"AWS_SESSION_TOKEN", "a\r\nhost: b"}}));
  EXPECT_FALSE(read("s3://bucket", "", {{"AWS_REGION", "x.evil/"}}));
}

}  // namespace
}  // namespace diffused::storage
