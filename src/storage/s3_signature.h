// AWS Signature Version 4, as stores that speak S3 want every request signed: in its Authorization header,
// over the body's hash.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace diffused::storage {

struct S3Keys {
  std::string id;      // AWS_ACCESS_KEY_ID
  std::string secret;  // AWS_SECRET_ACCESS_KEY
  std::string token;   // AWS_SESSION_TOKEN; empty: none
};

struct S3Request {
  std::string method;
  std::string path = "/";                                  // not encoded
  std::vector<std::pair<std::string, std::string>> query;  // not encoded
  // By names in small letters: "host", "x-amz-date" and "x-amz-content-sha256" among them. All are signed.
  std::map<std::string, std::string> headers;
};

struct S3Signature {
  std::string canonical_request;
  std::string string_to_sign;
  std::string authorization;  // the header's value
};

// As the signature wants it: all but letters, digits and "-._~" become %XX; '/' too unless `path`.
std::string percent_encoded(std::string_view text, bool path = false);
// "name=value&…", encoded and in the order that is signed.
std::string query_string(std::vector<std::pair<std::string, std::string>> query);
// "20130524T000000Z"
std::string amazon_time(std::int64_t unix_seconds);

S3Signature sign(const S3Request& request, const S3Keys& keys, const std::string& region);

}  // namespace diffused::storage
