#include "app/announcement.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/log.h"

namespace diffused::app {

void announce(const ServerSettings& settings, std::uint16_t port) {
  const std::string host =
      settings.http.host == "0.0.0.0" || settings.http.host == "::" ? "localhost" : settings.http.host;
  const std::string url = fmt::format("{}://{}:{}", settings.http.tls ? "https" : "http", host, port);
  log(LogLevel::info, "listening", {{"url", url}, {"worker", settings.worker}});
  fmt::print("listening on {}\n", url);
  if (!settings.api.probes_only)
    fmt::print(
        "\nOpen {1} in a browser, or try it here:\n  curl -X POST -H \"Content-Type: application/json\" \\\n"
        "    --data '{{\"model\": \"{0}\", \"prompt\": \"a kitten in front of a fireplace\"}}' \\\n"
        "    {1}/v1/images/generations\n",
        settings.store.empty() ? "something" : "dall-e-3", url);
  std::fflush(stdout);
}

}  // namespace diffused::app
