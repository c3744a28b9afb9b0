// `diffused-gateway`, which `diffused serve --role gateway` becomes: a server that has no model and is not
// linked to libtorch. It takes requests, has them made by the other servers on its store, and answers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "app/commands.h"
#include "app/serve_options.h"
#include "app/server.h"
#include "base/last_word.h"

namespace diffused::app {
namespace {

Result<void> serve(ServeOptions options) {
  if (options.role != "gateway")
    return fail(ErrorCode::invalid_argument,
                fmt::format("--role {} needs models: that is `diffused serve`", options.role), "--role");
  TRY_VOID(apply_serve_options(options));
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
  program.set_version_flag("--version", std::string("diffused ") + DIFFUSED_VERSION);
  diffused::app::ServeOptions options;
  options.role = "gateway";
  diffused::app::add_serve_options(program, options);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : diffused::app::kUnusable;
  }
  const auto done = diffused::app::serve(std::move(options));
  return done ? 0 : diffused::app::report(done.error());
}
