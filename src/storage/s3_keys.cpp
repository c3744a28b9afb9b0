#include "storage/s3_keys.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <sstream>
#include <string_view>

#include "base/files.h"
#include "base/log.h"

namespace diffused::storage {
namespace {

constexpr std::size_t kKeyFileBytesMax = 1 << 20;

tl::unexpected<Error> wrong_keys(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), "--blobs");
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// They become a header's value.
Result<void> check(const S3Keys& keys, std::string_view where) {
  const auto good = [](char c) { return c > 0x20 && c < 0x7f; };
  for (const auto& [name, value] : {std::pair{"AWS_ACCESS_KEY_ID", &keys.id},
                                    {"AWS_SECRET_ACCESS_KEY", &keys.secret},
                                    {"AWS_SESSION_TOKEN", &keys.token}})
    if (!std::all_of(value->begin(), value->end(), good))
      return wrong_keys(fmt::format("{}{} holds characters that no key has", where, name));
  return {};
}

}  // namespace

Result<S3Keys> S3KeyFile::read() const {
  auto read = read_whole_file(path, kKeyFileBytesMax);
  if (!read) return wrong_keys(read.error().message);
  std::istringstream stream(*read);
  S3Keys keys;
  bool ours = false;
  for (std::string text; std::getline(stream, text);) {
    const std::string_view line = trimmed(text);
    if (line.starts_with('[')) ours = line == fmt::format("[{}]", profile);
    const std::size_t equals = line.find('=');
    if (!ours || equals == line.npos || line.starts_with('#') || line.starts_with(';')) continue;
    const std::string_view name = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
    if (name == "aws_access_key_id") keys.id = value;
    if (name == "aws_secret_access_key") keys.secret = value;
    if (name == "aws_session_token") keys.token = value;
  }
  if (keys.id.empty() || keys.secret.empty())
    return wrong_keys(fmt::format("{}: there are no keys in it under [{}]", path.string(), profile));
  TRY_VOID(check(keys, path.string() + ": "));
  return keys;
}

Result<S3KeySource> S3KeySource::find(const Variables& variables) {
  S3KeySource source;
  source.keys = {variables("AWS_ACCESS_KEY_ID").value_or(""), variables("AWS_SECRET_ACCESS_KEY").value_or(""),
                 variables("AWS_SESSION_TOKEN").value_or("")};
  const auto file = variables("AWS_SHARED_CREDENTIALS_FILE");
  if (source.keys.id.empty() && source.keys.secret.empty() && file) {
    source.file = {*file, variables("AWS_PROFILE").value_or("default")};
    TRY(source.keys, source.file.read());
    return source;
  }
  if (source.keys.id.empty() || source.keys.secret.empty())
    return wrong_keys(
        "--blobs s3://…: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE");
  TRY_VOID(check(source.keys, ""));
  return source;
}

FreshS3Keys::FreshS3Keys(S3KeySource source) : file_(std::move(source.file)), keys_(std::move(source.keys)) {}

std::string FreshS3Keys::state() const {
  struct stat found {};
  if (file_.path.empty() || ::stat(file_.path.c_str(), &found) != 0) return {};
  return fmt::format("{} {} {}.{}", found.st_ino, found.st_size, found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
}

S3Keys FreshS3Keys::get() {
  const std::lock_guard lock(mutex_);
  // A file that is just being replaced counts again once it is there.
  if (const std::string now = state(); !now.empty() && now != read_from_) {
    read_from_ = now;
    auto fresh = file_.read();
    if (fresh) keys_ = *std::move(fresh);
    if (!fresh) log(LogLevel::error, "s3_keys_kept", {{"error", fresh.error().message}});
  }
  return keys_;
}

}  // namespace diffused::storage
