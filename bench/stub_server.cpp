// The server on a pipeline that only sleeps: everything but the model, for `./dev bench serving`.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "app/server.h"
#include "base/last_word.h"
#include "base/log.h"
#include "support/fake_pipeline.h"

int main(int argc, char** argv) {
  using namespace diffused;
  log_last_words();
  std::signal(SIGPIPE, SIG_IGN);
  set_log_level(LogLevel::warning);

  app::ServerSettings settings;
  settings.api.version = "stub";
  double step_ms = 10;
  int image_seconds = 3600;
  CLI::App program("A server whose model only sleeps", "stub_server");
  program.add_option("--port", settings.http.port);
  program.add_option("--data-dir", settings.data_dir);
  program.add_option("--store", settings.store);
  program.add_option("--blobs", settings.blobs);
  program.add_option("--free-bytes-min", settings.free_bytes_min);
  double lease_seconds = 15;
  program.add_option("--job-lease", lease_seconds);
  program.add_option("--job-attempts", settings.jobs.attempts_max);
  bool quiet = false;
  program.add_flag("--quiet-jobs", quiet, "look for no background jobs, for measuring what looking costs");
  program.add_option("--step-ms", step_ms, "one step of one 256x256 picture");
  program.add_option("--pages", settings.api.pages_dir, "as of diffused serve");
  program.add_option("--image-lifetime", image_seconds, "seconds that a picture is kept");
  std::optional<double> overdue_factor;
  program.add_option("--overdue-factor", overdue_factor, "times its estimate after which a unit hangs");
  http::TlsFiles tls;
  program.add_option("--tls-cert", tls.certificate);
  program.add_option("--tls-key", tls.key);
  CLI11_PARSE(program, argc, argv);

  if (!tls.certificate.empty()) settings.http.tls = tls;
  settings.api.image_lifetime = std::chrono::seconds(image_seconds);
  app::set_lease(settings, lease_seconds);
  if (overdue_factor) {
    settings.engine.overdue_min = std::chrono::seconds(0);
    settings.engine.overdue_factor = *overdue_factor;
  }
  if (quiet) settings.background.poll = settings.background.renew = std::chrono::hours(24);

  // As fast as its steps are short: nothing is refused for being long.
  constexpr double kStepFlops = 1e6 * 256 * 256;
  settings.engine.initial_flops_per_second = kStepFlops / std::max(step_ms / 1000, 1e-6);
  settings.engine.unit_max = std::chrono::hours(1);

  test::FakeOptions options;
  options.seconds = test::fake_costs(step_ms / 1000);
  options.pass = [](double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); };
  const auto pipeline = std::make_shared<test::FakePipeline>(std::move(options));
  const auto done =
      app::run_server(std::move(settings), {{"stub", {}, SystemClock().unix_seconds(), pipeline}});
  if (!done) log(LogLevel::error, "stub_failed", {{"message", done.error().message}});
  return done ? 0 : 1;
}
