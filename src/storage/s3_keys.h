// The keys that requests to a bucket are signed with, and where they come from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>

#include "base/result.h"
#include "base/variables.h"
#include "storage/s3_signature.h"

namespace diffused::storage {

// A file of keys as Amazon's tools keep it: "[profile]", then lines "aws_access_key_id = …",
// "aws_secret_access_key = …" and perhaps "aws_session_token = …".
struct S3KeyFile {
  std::filesystem::path path;
  std::string profile = "default";

  // Error: invalid_argument, naming the file and not what is in it.
  Result<S3Keys> read() const;
};

// Keys that last, of the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; or those
// of a file that somebody keeps fresh: AWS_SHARED_CREDENTIALS_FILE, with AWS_PROFILE.
struct S3KeySource {
  S3Keys keys;
  S3KeyFile file;  // empty path: none

  // Errors: invalid_argument, naming what is missing or wrong.
  static Result<S3KeySource> find(const Variables& variables);
};

// The keys as of now: a file is read again when it has changed. What cannot be read is logged, and the keys
// before it go on counting. Any thread.
class FreshS3Keys {
 public:
  explicit FreshS3Keys(S3KeySource source);
  S3Keys get();

 private:
  // Tells one state of the file from another; nothing of a file that is not there.
  std::string state() const;

  const S3KeyFile file_;
  std::mutex mutex_;
  S3Keys keys_;            // guarded by mutex_
  std::string read_from_;  // guarded by mutex_: the file's state
};

}  // namespace diffused::storage
