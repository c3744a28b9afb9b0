#include "app/access_log.h"

#include <cmath>

#include "base/log.h"

namespace diffused::app {
namespace {

// What is asked every few seconds by whoever watches the machine.
bool is_probe(std::string_view route) {
  return route == "/livez" || route == "/readyz" || route == "/metrics";
}

}  // namespace

void AccessLog::served(const http::Served& served) {
  next_->served(served);
  boost::json::object fields{
      {"request_id", served.request_id}, {"peer", served.peer},
      {"method", served.method},         {"route", served.route},
      {"code", served.status},           {"ms", std::round(served.seconds * 10'000) / 10}};
  const auto add = [&](const char* name, std::string_view value) {
    if (!value.empty()) fields[name] = value;
  };
  add("key", served.user);
  add("job", served.job);
  add("traceparent", served.trace);
  log(is_probe(served.route) ? LogLevel::debug : LogLevel::info, "request", std::move(fields));
}

}  // namespace diffused::app
