#include "app/access.h"

#include <fmt/format.h>

#include <boost/url/parse.hpp>

#include "base/files.h"
#include "http/policy.h"
#include "http/tls.h"

namespace diffused::app {
namespace {

constexpr std::size_t kKeyFileBytesMax = 16 << 20;

Result<std::string> read_key_file(const std::string& file) {
  auto text = read_whole_file(file, kKeyFileBytesMax);
  if (!text)
    return fail(ErrorCode::invalid_argument, fmt::format("--api-keys: {}", text.error().message), file);
  return text;
}

Result<api::KeyRing> parse_keys(const std::string& file, const std::string& text) {
  auto keys = api::KeyRing::parse(text);
  if (!keys)
    return fail(ErrorCode::invalid_argument,
                fmt::format("--api-keys: {}: {}; `diffused key NAME >>{}` adds one", file,
                            keys.error().message, file));
  return keys;
}

Result<void> apply_keys(const std::string& file, ServerSettings& settings) {
  TRY(const std::string text, read_key_file(file));
  TRY(api::KeyRing ring, parse_keys(file, text));
  const auto keys = std::make_shared<api::Keys>(std::move(ring));
  settings.api.keys = keys;
  settings.reload_keys = [keys, file]() -> Result<void> {
    TRY(const std::string text, read_key_file(file));
    // A priority that is cut short would be another one.
    if (!text.ends_with('\n'))
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("--api-keys: {}: its last line has no end, as if it were still being written", file));
    TRY(api::KeyRing fresh, parse_keys(file, text));
    keys->replace(std::move(fresh));
    return {};
  };
  return {};
}

// A server that has a public address is addressed by it, and its own pages come from there, also when a proxy
// before it speaks TLS.
Result<void> apply_public_url(ServerSettings& settings) {
  std::string& url = settings.api.public_url;
  while (url.ends_with('/')) url.pop_back();
  if (url.empty()) return {};
  const auto parsed = boost::urls::parse_uri(url);
  const bool web = parsed && (parsed->scheme() == "http" || parsed->scheme() == "https");
  if (!web || parsed->host().empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' cannot be the public URL: it must be like https://host:port", url));
  settings.http.policy.hosts.push_back(parsed->host());
  settings.http.policy.origins.push_back(url.substr(0, url.find('/', url.find("//") + 2)));
  return {};
}

}  // namespace

void add_access_options(CLI::App& command, AccessOptions& options, ServerSettings& settings) {
  http::ServerOptions& http = settings.http;
  http.port = 8000;
  command.add_option("--host", http.host, "the address to listen on; 0.0.0.0 and :: are all of them")
      ->capture_default_str();
  command.add_option("--port", http.port, "0: any free one, printed at start")->capture_default_str();
  command.add_option("--api-keys", options.key_file,
                     "a file of keys, made with `diffused key NAME >>FILE`; read again at SIGHUP");
  command.add_flag("--allow-anonymous", options.allow_anonymous,
                   "without keys, listen also where other machines can reach the server");
  command.add_option("--tls-cert", options.tls_certificate, "a PEM file: the certificate and its chain");
  command.add_option("--tls-key", options.tls_key, "a PEM file: the certificate's private key");
  command
      .add_option("--public-url", settings.api.public_url,
                  "what pictures' URLs begin with (default: the request's Host)")
      ->envname("SERVICE_URL");
  command.add_option("--allowed-host", http.policy.hosts,
                     "a name this server may be addressed by, besides localhost and IP addresses; * is any");
  command.add_flag("--any-host", options.any_host,
                   "be addressed by whatever name leads here, as in containers; needs --api-keys");
  command.add_option("--allowed-origin", http.policy.origins,
                     "an origin whose pages may use the API; * is any");
}

Result<void> apply_access(const AccessOptions& options, ServerSettings& settings) {
  if (!options.key_file.empty()) TRY_VOID(apply_keys(options.key_file, settings));
  if (!settings.api.keys && !options.allow_anonymous && !http::is_loopback(settings.http.host))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("on {} anybody who reaches this machine could use the server: give --api-keys FILE, "
                    "or --allow-anonymous if that is meant",
                    settings.http.host));
  // A page that gives its own name this machine's address (DNS rebinding) has no key.
  if (options.any_host && !settings.api.keys)
    return fail(ErrorCode::invalid_argument,
                "--any-host: without keys any page that a browser here shows could use the server: give "
                "--api-keys FILE, or name the hosts by --allowed-host");
  if (options.any_host) settings.http.policy.hosts.push_back("*");
  if (options.tls_certificate.empty() != options.tls_key.empty())
    return fail(ErrorCode::invalid_argument, "--tls-cert and --tls-key go together");
  if (!options.tls_certificate.empty()) {
    // A file that cannot be used is named before any model is loaded.
    TRY_VOID(http::make_tls_context(options.tls_certificate, options.tls_key));
    settings.http.tls = http::TlsFiles{options.tls_certificate, options.tls_key};
  }
  return apply_public_url(settings);
}

}  // namespace diffused::app
