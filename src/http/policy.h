// Who may speak to this server from a browser. A page on any site can make a browser send requests to a
// server on the user's own machine or network (cross-site request forgery), or give its own name that
// machine's address (DNS rebinding). Host, Origin and Sec-Fetch-Site are what a page cannot forge. Pure; any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/framing.h"
#include "http/refusal.h"

namespace diffused::http {

struct HostPolicy {
  // Names, without port, under which this server may be addressed; "*": any. Compared without case.
  std::vector<std::string> hosts = {"localhost"};
  // Whether any IP address is accepted as Host: rebinding needs a name, so an address is no danger.
  bool address_hosts = true;
  // Origins ("https://app.example:8443") whose pages may use the API; "*": any, also "null". The server's own
  // origin is always one of them.
  std::vector<std::string> origins = {};
};

// Whether only programs of this machine can reach a server that listens on `host`: "localhost" or a loopback
// address.
bool is_loopback(const std::string& host);

// 403 when `host` (the Host header or an absolute target's authority) names nobody here; 400 when it is
// malformed. An empty one is accepted: HTTP/1.0 sends none.
Checked<void> check_host(const HostPolicy& policy, std::string_view host);

// Whether a page of `origin` may use the API through `host`. An empty origin is no page: true.
bool origin_allowed(const HostPolicy& policy, std::string_view origin, std::string_view host, bool tls);

// 403 when a page that is not allowed asks for a change (any method but GET, HEAD and OPTIONS), by its Origin
// or, where a browser sent none, by Sec-Fetch-Site: cross-site. Reading is left open: without CORS headers a
// foreign page cannot see the answer, and pictures may be shown on any page.
Checked<void> check_origin(const HostPolicy& policy, const RequestHead& head, bool tls);

// The CORS headers of an answer to this request; empty when there is no Origin or it is not allowed.
Headers cors_headers(const HostPolicy& policy, const RequestHead& head, bool tls);

// What the answer to OPTIONS on a path that serves `allowed` methods holds beside cors_headers(): Allow, and
// for an allowed origin what a preflight asks for.
Headers options_headers(const HostPolicy& policy, const RequestHead& head, bool tls,
                        const std::vector<std::string>& allowed);

// "GET, HEAD, OPTIONS"
std::string join_methods(const std::vector<std::string>& methods);

}  // namespace diffused::http
