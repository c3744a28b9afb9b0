#include "api/endpoints.h"
#include "async/offload.h"
#include "base/json_text.h"

namespace diffused::api {

// GCC 12 cannot hold an initializer list across a co_await: objects are built before they are sent.
asio::awaitable<std::shared_ptr<const std::string>> body_of(const Api& api, const http::Request& request,
                                                            const json::value& value) {
  return offload(api.workers, user_of(request),
                 [&value] { return std::make_shared<const std::string>(json_text(value)); });
}

asio::awaitable<void> send_large_json(const Api& api, http::Exchange& exchange, const json::value& body) {
  http::Response response;
  response.body = co_await body_of(api, exchange.request(), body);
  co_await exchange.send(std::move(response));
}

asio::awaitable<void> send_json(http::Exchange& exchange, const json::value& body, int status) {
  http::Response response;
  response.status = status;
  response.body = std::make_shared<const std::string>(json_text(body));
  co_await exchange.send(std::move(response));
}

asio::awaitable<void> show_live(const Api&, http::Exchange& exchange) {
  const json::object body{{"status", "alive"}};
  co_await send_json(exchange, body);
}

asio::awaitable<void> show_health(const Api& api, http::Exchange& exchange) {
  const Health health = api.health();
  const json::object body{{"status", !health.ready     ? "unavailable"
                                     : health.degraded ? "degraded"
                                                       : "ready"},
                          {"version", api.options.version},
                          {"checks", health.checks}};
  co_await send_json(exchange, body, health.ready ? 200 : 503);
}

asio::awaitable<void> show_metrics(const Api& api, http::Exchange& exchange) {
  http::Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = std::make_shared<const std::string>(api.metrics());
  co_await exchange.send(std::move(response));
}

}  // namespace diffused::api
