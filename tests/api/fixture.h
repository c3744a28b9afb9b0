// An Api with nothing real behind it, and a way to ask it.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <utility>

#include "api/api.h"
#include "api/errors.h"
#include "api/routes.h"
#include "http/router.h"
#include "http/target.h"
#include "storage/memory_store.h"
#include "support/fake_clock.h"
#include "support/fake_dispatcher.h"
#include "support/fake_exchange.h"

namespace diffused::api {

struct ApiFixture {
  asio::io_context io;  // first, so that the workers are gone before it is
  test::FakeClock clock;
  FakeDispatcher dispatcher;
  storage::MemoryStore images{1 << 20, clock};
  std::optional<Workers> threads{std::in_place, 2, 1};
  Workers& workers = *threads;  // whichever they are
  bool ready = true;
  Api api{options(),
          dispatcher,
          images,
          workers,
          clock,
          [this] {
            return Health{ready, {{"model", "demo"}}};
          },
          [] { return std::string("diffused_up 1\n"); }};

  static ApiOptions options() {
    ApiOptions options;
    options.version = "0.0";
    return options;
  }

  // Sends the request through the route table, as the HTTP shell would.
  http::Response ask(http::Request request) {
    http::FakeExchange exchange(io, std::move(request));
    run(exchange);
    http::Response none;
    none.status = 0;
    return exchange.response.value_or(none);
  }

  http::Response ask(const std::string& method, const std::string& target, std::string body = {}) {
    return ask(request(method, target, std::move(body)));
  }

  static http::Request request(const std::string& method, const std::string& target, std::string body = {}) {
    http::Request request;
    request.method = method;
    request.path = target;
    request.headers = {{"host", "localhost:8000"}};
    if (!body.empty()) request.headers.emplace_back("content-type", "application/json");
    request.body = std::move(body);
    request.peer = "192.0.2.7";
    request.request_id = "req_1";
    return request;
  }

  // Runs the exchange's route; request.path is still the target.
  void run(http::FakeExchange& exchange, const std::function<void()>& meanwhile = {}) {
    auto& request = const_cast<http::Request&>(exchange.request());
    const auto target = http::parse_target(request.path);
    ASSERT_TRUE(target) << request.path;
    request.path = target->path;
    request.query = target->query;
    const http::Router router(make_routes(api));
    const auto found = router.find(request.method, target->segments);
    if (found.route == nullptr) {
      const int status = found.allowed.empty() ? 404 : 405;
      exchange.response =
          respond_to_error({ErrorCode::not_found, "there is nothing here", {}, {}}, status, request.path);
      return;
    }
    if (request.body.size() > found.route->body_bytes_max) {
      exchange.response = respond_to_error({ErrorCode::payload_too_large, "the body is too large", {}, {}},
                                           413, request.path);
      return;
    }
    request.parameters = found.parameters;
    if (found.route->gate) {
      if (auto refused = found.route->gate(request)) {
        exchange.response = std::move(*refused);
        return;
      }
    }
    exchange.run(found.route->handler, meanwhile);
  }
};

inline json::value body_of(const http::Response& response) {
  boost::system::error_code error;
  const json::value body = json::parse(*response.body, error);
  EXPECT_FALSE(error) << *response.body;
  return body;
}

inline std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

}  // namespace diffused::api
