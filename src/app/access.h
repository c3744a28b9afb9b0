// Who may reach the server, and how: its address, TLS, API keys, host names and origins.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace diffused::app {

struct AccessOptions {
  std::string key_file;
  bool allow_anonymous = false;
  bool any_host = false;
  std::string tls_certificate;
  std::string tls_key;
};

// Adds --host, --port, --public-url, --allowed-host, --any-host, --allowed-origin, --api-keys,
// --allow-anonymous,
// --tls-cert and --tls-key. `options` and `settings` must outlive the parsing.
void add_access_options(CLI::App& command, AccessOptions& options, ServerSettings& settings);

// Completes the settings from the options. Errors: invalid_argument for files that cannot be
// used, half a TLS pair, a public URL that is none, an address that others can reach without a key unless
// that is asked for, and any host without keys.
Result<void> apply_access(const AccessOptions& options, ServerSettings& settings);

}  // namespace diffused::app
