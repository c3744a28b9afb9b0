// Where a bucket is and with what keys: from s3://bucket/prefix, and the variables that every tool of S3
// reads.
#pragma once

#include <string>

#include "base/result.h"
#include "base/variables.h"
#include "storage/s3_keys.h"

namespace diffused::storage {

struct S3Address {
  std::string endpoint;  // "https://s3.eu-central-1.amazonaws.com", without a slash at its end
  std::string host;      // as the header Host says it
  std::string bucket;
  bool bucket_in_host = false;  // Amazon's own way; else the bucket is the path's first part
  std::string prefix;           // of all names: empty, or with a slash at its end
  std::string region;
  S3KeySource key_source;

  // The path of the object, or of the bucket itself for an empty `name`; not encoded.
  std::string path(const std::string& name) const;
};

bool is_s3_url(const std::string& text);

// `endpoint`: "http://127.0.0.1:9000", or empty for AWS_ENDPOINT_URL, or else Amazon's in AWS_REGION (or
// AWS_DEFAULT_REGION, or us-east-1). Error: invalid_argument, naming what is wrong.
Result<S3Address> read_s3_address(const std::string& url, std::string endpoint, const Variables& variables);

}  // namespace diffused::storage
