// `diffused-gateway`, which `diffused serve --role gateway` becomes: a server that has no model and is not
// linked to libtorch. It takes requests, has them made by the other servers on its store, and answers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "app/commands.h"
#include "app/serve_options.h"
#include "app/server.h"
#include "app/version.h"
#include "base/last_word.h"

namespace diffused::app {
namespace {

Result<void> serve(ServeOptions options, char** arguments) {
  if (options.role != "gateway")
    return fail(ErrorCode::invalid_argument,
                fmt::format("--role {} needs models: that is `diffused serve`", options.role), "--role");
  TRY_VOID(apply_serve_options(options));
  if (options.completion.check_only) return say_all_is_well();
  reload_limits(options, [arguments]() -> Result<api::RequestLimits> {
    CLI::App command;
    ServeOptions fresh;
    add_serve_options(command, fresh);
    TRY_VOID(parse_again(command, fresh.completion, arguments));
    return fresh.server.api.limits;
  });
  options.server.api.queue_jobs_max = static_cast<std::size_t>(options.server.background.jobs_queued_max);
  return run_server(std::move(options.server), {});
}

}  // namespace
}  // namespace diffused::app

int main(int argc, char** argv) {
  diffused::log_last_words();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk, not the end

  CLI::App program("Serve the models of other servers on a job store", "diffused serve --role gateway");
  program.set_version_flag("--version", diffused::app::version_text());
  diffused::app::ServeOptions options;
  options.role = "gateway";
  diffused::app::add_serve_options(program, options);
  int exit_status = 0;
  diffused::app::add_health(program, exit_status);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : diffused::app::kUnusable;
  }
  if (!program.get_subcommands().empty()) return exit_status;
  const auto done = diffused::app::complete(program, options.completion).and_then([&](bool go_on) {
    return go_on ? diffused::app::serve(std::move(options), argv) : diffused::Result<void>();
  });
  return done ? 0 : diffused::app::report(done.error());
}
