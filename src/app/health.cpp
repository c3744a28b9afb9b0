// `diffused health [URL]`: asks a running server whether it can serve, for what watches containers.
#include <fmt/format.h>

#include <algorithm>

#include "app/commands.h"
#include "web/client.h"

namespace diffused::app {
namespace {

constexpr std::size_t kAnswerBytesMax = 64 << 10;

Result<void> ask(const std::string& url, double seconds) {
  web::Request request;
  request.url = url + "/readyz";
  request.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
  request.connect_timeout = request.timeout;
  std::string body;
  TRY(const web::Reply reply,
      web::Client().send(request, [&](const web::Reply&, std::string_view piece) -> Result<void> {
        body += piece.substr(0, kAnswerBytesMax - std::min(kAnswerBytesMax, body.size()));
        return {};
      }));
  fmt::print("{}\n", body);
  if (reply.status == 200) return {};
  return fail(ErrorCode::unavailable, fmt::format("{}: the server cannot serve now ({})", url, reply.status));
}

}  // namespace

void add_health(CLI::App& program, int& exit_status) {
  struct Options {
    std::string url = "http://localhost:8000";
    double seconds = 5;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("health", "Ask a running server whether it can serve: 0, or 1");
  command->add_option("URL", options->url)->capture_default_str();
  command->add_option("--timeout", options->seconds, "seconds")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->callback([options, &exit_status] {
    while (options->url.ends_with('/')) options->url.pop_back();
    const auto done = ask(options->url, options->seconds);
    if (!done) exit_status = report(done.error());
  });
}

}  // namespace diffused::app
