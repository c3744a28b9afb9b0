// The options of `diffused serve` that need no model: those of a gateway too. No torch.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "app/access.h"
#include "app/completion.h"
#include "app/settings.h"
#include "base/result.h"

namespace diffused::app {

struct ServeOptions {
  CompletionOptions completion;
  AccessOptions access;
  ServerSettings server;
  std::string role = "all";
  std::string log_level = "info";
  std::string job_list = "auto";
  bool plain_pictures = false;
  std::string styles_file;
  int drain_seconds = 60;
  double drain_delay_seconds = 0;
  int request_seconds = 900;
  int image_seconds = 3600;
  int early_head_seconds = 240;
  int job_seconds = 24 * 3600;
  double lease_seconds = 15;
  int queued_seconds = 7 * 24 * 3600;
  std::optional<std::uint16_t> metrics_port;
  std::string metrics_host = "127.0.0.1";
  std::optional<std::int64_t> jobs_of_user_max;
};

// `options` must outlive the parsing.
void add_serve_options(CLI::App& command, ServeOptions& options);

// Has SIGHUP read the limits of requests again, where a file gives them: `read` parses the command line anew,
// as at the start. To be called after apply_serve_options.
void reload_limits(ServeOptions& options, std::function<Result<api::RequestLimits>()> read);

// Completes options.server from the others, sets what is logged, and keeps SIGHUP from ending a server that
// is still loading. Errors: as apply_access; invalid_argument for a role without a store.
Result<void> apply_serve_options(ServeOptions& options);

}  // namespace diffused::app
