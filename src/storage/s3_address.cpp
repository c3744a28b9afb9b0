#include "storage/s3_address.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "web/client.h"

namespace diffused::storage {
namespace {

constexpr std::string_view kScheme = "s3://";

bool all_of(std::string_view text, bool (*good)(char)) { return std::all_of(text.begin(), text.end(), good); }

bool is_small(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_bucket(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 && is_small(name.front()) && is_small(name.back()) &&
         name.find("..") == name.npos &&
         all_of(name, [](char c) { return is_small(c) || c == '-' || c == '.'; });
}

// Names of folders, of characters that mean the same in a URL and in XML.
bool is_prefix(std::string_view prefix) {
  const bool plain = all_of(prefix, [](char c) {
    return is_small(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' || c == '/';
  });
  const std::string between = fmt::format("/{}/", prefix);
  return plain && prefix.size() <= 512 &&
         (prefix.empty() || (between.find("//") == between.npos && between.find("/./") == between.npos &&
                             between.find("/../") == between.npos));
}

// "https://host:port" → "host:port", the port only where it is not the scheme's own.
std::string host_of(const std::string& endpoint) {
  std::string origin = web::origin(endpoint);
  const bool tls = origin.starts_with("https://");
  origin.erase(0, tls ? 8 : 7);
  const std::string usual = tls ? ":443" : ":80";
  if (origin.ends_with(usual)) origin.resize(origin.size() - usual.size());
  return origin;
}

tl::unexpected<Error> wrong_address(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message), "--blobs");
}

}  // namespace

std::string S3Address::path(const std::string& name) const {
  const std::string root = bucket_in_host ? "/" : fmt::format("/{}/", bucket);
  if (name.empty()) return bucket_in_host ? root : root.substr(0, root.size() - 1);
  return root + prefix + name;
}

bool is_s3_url(const std::string& text) { return text.starts_with(kScheme); }

Result<S3Address> read_s3_address(const std::string& url, std::string endpoint, const Variables& variables) {
  S3Address address;
  const std::string_view rest = std::string_view(url).substr(kScheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  address.bucket = rest.substr(0, slash);
  address.prefix = rest.substr(std::min(slash + 1, rest.size()));
  while (address.prefix.ends_with('/')) address.prefix.pop_back();
  if (!is_bucket(address.bucket) || !is_prefix(address.prefix))
    return wrong_address(fmt::format("--blobs {}: must be like s3://bucket/prefix", url));
  if (!address.prefix.empty()) address.prefix += '/';
  address.region = variables("AWS_REGION").value_or(variables("AWS_DEFAULT_REGION").value_or("us-east-1"));
  if (!all_of(address.region, [](char c) { return is_small(c) || c == '-'; }))
    return wrong_address(fmt::format("AWS_REGION is '{}', which is no region", address.region));
  if (endpoint.empty()) endpoint = variables("AWS_ENDPOINT_URL").value_or("");
  if (endpoint.empty()) {
    // A certificate for *.s3.… does not hold for a name with dots.
    address.bucket_in_host = address.bucket.find('.') == std::string::npos;
    endpoint = fmt::format("https://{}s3.{}.amazonaws.com",
                           address.bucket_in_host ? address.bucket + "." : "", address.region);
  }
  while (endpoint.ends_with('/')) endpoint.pop_back();
  address.host = host_of(endpoint);
  const std::size_t host_at = endpoint.find("://");
  if (address.host.empty() || host_at == std::string::npos ||
      endpoint.find_first_of("/?#@", host_at + 3) != std::string::npos)
    return wrong_address(fmt::format("--blobs-endpoint {}: must be like https://host:port", endpoint));
  address.endpoint = endpoint;
  TRY(address.key_source, S3KeySource::find(variables));
  return address;
}

}  // namespace diffused::storage
