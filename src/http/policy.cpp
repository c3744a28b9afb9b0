#include "http/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <optional>

#include "base/ascii.h"

namespace diffused::http {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::any_of(list.begin(), list.end(),
                     [&](const std::string& item) { return item == "*" || iequals(item, text); });
}

bool is_allowed(const HostPolicy& policy, const RequestHead& head, bool tls) {
  return origin_allowed(policy, find_header(head.headers, "origin"), find_header(head.headers, "host"), tls);
}

// The longest name in DNS: longer ones are shortened in the error.
constexpr std::size_t kNameShown = 253;

// A list of header names as a browser sends it; anything else is not echoed.
bool is_token_list(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

// The host of "host:port" or "[address]:port"; none when it is neither.
std::optional<std::string_view> name_of(std::string_view host) {
  const bool bracketed = host.starts_with('[');
  const auto end = host.find(bracketed ? ']' : ':');
  if (bracketed && end == std::string_view::npos) return std::nullopt;
  const auto name = bracketed ? host.substr(1, end - 1) : host.substr(0, end);
  auto port = host.substr(std::min(host.size(), bracketed ? end + 1 : end));
  if (port.starts_with(':')) port.remove_prefix(1);
  const auto is_name_byte = [&](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '-' || c == '_' || (bracketed && c == ':');
  };
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const bool well_formed = !name.empty() && std::all_of(name.begin(), name.end(), is_name_byte) &&
                           std::all_of(port.begin(), port.end(), is_digit);
  return well_formed ? std::optional(name) : std::nullopt;
}

}  // namespace

bool is_loopback(const std::string& host) {
  boost::system::error_code no_address;
  const auto address = boost::asio::ip::make_address(host, no_address);
  return no_address ? iequals(host, "localhost") : address.is_loopback();
}

Checked<void> check_host(const HostPolicy& policy, std::string_view host) {
  if (host.empty()) return {};
  const auto name = name_of(host);
  if (!name) return refuse(400, ErrorCode::invalid_argument, "bad_host", "The Host header is malformed.");
  boost::system::error_code no_address;
  boost::asio::ip::make_address(*name, no_address);
  if ((policy.address_hosts && !no_address) || contains(policy.hosts, *name)) return {};
  return refuse(403, ErrorCode::forbidden, "host_not_allowed",
                fmt::format("This server is not configured to be addressed as '{0}': start it with "
                            "--allowed-host {0} to allow that name.",
                            name->substr(0, kNameShown)));
}

bool origin_allowed(const HostPolicy& policy, std::string_view origin, std::string_view host, bool tls) {
  if (origin.empty() || contains(policy.origins, origin)) return true;
  // The server's own pages. Browsers leave the default port out of both.
  const std::string_view scheme = tls ? "https://" : "http://";
  return origin.starts_with(scheme) && iequals(origin.substr(scheme.size()), host);
}

Checked<void> check_origin(const HostPolicy& policy, const RequestHead& head, bool tls) {
  if (head.method == "GET" || head.method == "HEAD" || head.method == "OPTIONS") return {};
  const bool has_origin = !find_header(head.headers, "origin").empty();
  const bool cross_site = iequals(find_header(head.headers, "sec-fetch-site"), "cross-site");
  if (has_origin ? is_allowed(policy, head, tls) : !cross_site) return {};
  return refuse(403, ErrorCode::forbidden, "origin_not_allowed",
                "Pages of that origin may not use this server; its operator can allow the origin.");
}

Headers cors_headers(const HostPolicy& policy, const RequestHead& head, bool tls) {
  const auto origin = find_header(head.headers, "origin");
  if (origin.empty() || !is_allowed(policy, head, tls)) return {};
  return {{"access-control-allow-origin", std::string(origin)},
          {"vary", "Origin"},
          {"access-control-expose-headers",
           "x-request-id, retry-after, retry-after-ms, x-should-retry, openai-processing-ms, location"}};
}

Headers options_headers(const HostPolicy& policy, const RequestHead& head, bool tls,
                        const std::vector<std::string>& allowed) {
  Headers headers = {{"allow", join_methods(allowed)}};
  if (find_header(head.headers, "origin").empty() || !is_allowed(policy, head, tls)) return headers;
  const auto wanted = find_header(head.headers, "access-control-request-headers");
  headers.emplace_back("access-control-allow-methods", join_methods(allowed));
  headers.emplace_back("access-control-allow-headers", !wanted.empty() && is_token_list(wanted)
                                                           ? std::string(wanted)
                                                           : "authorization, content-type, api-key");
  headers.emplace_back("access-control-max-age", "600");
  if (!find_header(head.headers, "access-control-request-private-network").empty())
    headers.emplace_back("access-control-allow-private-network", "true");
  return headers;
}

std::string join_methods(const std::vector<std::string>& methods) {
  std::string joined;
  for (const auto& method : methods) joined += (joined.empty() ? "" : ", ") + method;
  return joined;
}

}  // namespace diffused::http
