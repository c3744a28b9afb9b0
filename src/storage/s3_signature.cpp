#include "storage/s3_signature.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "storage/sha256.h"

namespace diffused::storage {
namespace {

std::string hmac(std::string_view key, std::string_view text) {
  std::array<unsigned char, 32> digest;
  unsigned int size = digest.size();
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size));
  return {digest.begin(), digest.end()};
}

}  // namespace

std::string percent_encoded(std::string_view text, bool path) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos || (path && c == '/');
    if (plain) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string query_string(std::vector<std::pair<std::string, std::string>> query) {
  for (auto& [name, value] : query) name = percent_encoded(name), value = percent_encoded(value);
  std::sort(query.begin(), query.end());
  std::string text;
  for (const auto& [name, value] : query) text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

std::string amazon_time(std::int64_t unix_seconds) {
  return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

S3Signature sign(const S3Request& request, const S3Keys& keys, const std::string& region) {
  std::string headers, names;
  for (const auto& [name, value] : request.headers) {
    headers += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string& time = request.headers.at("x-amz-date");
  const std::string date = time.substr(0, 8);
  const std::string scope = fmt::format("{}/{}/s3/aws4_request", date, region);
  S3Signature signature;
  signature.canonical_request =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, percent_encoded(request.path, true),
                  query_string(request.query), headers, names, request.headers.at("x-amz-content-sha256"));
  signature.string_to_sign =
      fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, scope, sha256_hex(signature.canonical_request));
  const std::string key = hmac(hmac(hmac(hmac("AWS4" + keys.secret, date), region), "s3"), "aws4_request");
  signature.authorization = fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}",
                                        keys.id, scope, names, hex(hmac(key, signature.string_to_sign)));
  return signature;
}

}  // namespace diffused::storage
