#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

asio::awaitable<void> echo(Exchange& exchange) {
  const Request& request = exchange.request();
  std::string text = request.method + " " + request.path;
  for (const auto& [name, value] : request.parameters) text += " " + name + "=" + value;
  for (const auto& [name, value] : request.query) text += " ?" + name + "=" + value;
  text += " from " + request.peer + " [" + exchange.take_body() + "]";
  co_await exchange.send(text_response(std::move(text)));
}

std::vector<Route> echo_routes() {
  return {{"GET", "/echo", echo},
          {"POST", "/echo", echo},
          {"GET", "/v1/models/{id}", echo, 0, nullptr, {"/models/{id}"}}};
}

// One request on a connection of its own.
std::string ask(const TestServer& server, const std::string& request) {
  RawClient client(server.port());
  client.send(request);
  return client.response();
}

TEST(Session, AnswersAndKeepsTheConnection) {
  TestServer server(echo_routes());
  RawClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send("POST /echo?a=b%20c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_THAT(client.response(),
                AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\r\nconnection: keep-alive\r\n"),
                      HasSubstr("POST /echo ?a=b c from 127.0.0.1 [hello]")));
  }
  EXPECT_TRUE(server.observer->saw("/echo 200"));
}

// The end may come before the answer is out, with it or after it.
TEST(Session, EndsAConnectionWhoseClientWillSendNothingMore) {
  TestServer server(echo_routes());
  for (int i = 0; i < 20; ++i) {
    RawClient client(server.port());
    client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    client.shutdown_send();
    EXPECT_TRUE(client.closed_by_server());
  }
}

TEST(Session, AnswersPipelinedRequestsInOrder) {
  TestServer server(echo_routes());
  RawClient client(server.port());
  client.send("GET /echo?n=1 HTTP/1.1\r\nHost: a\r\n\r\nGET /echo?n=2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.response(), HasSubstr("?n=1"));
  EXPECT_THAT(client.response(), HasSubstr("?n=2"));
}

TEST(Session, ReadsARequestThatComesByteByByte) {
  TestServer server(echo_routes());
  RawClient client(server.port());
  for (const char byte : std::string("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                                     "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
    client.send(std::string(1, byte));
  EXPECT_THAT(client.response(), HasSubstr("[abcde]"));
}

TEST(Session, AnswersHeadWithTheLengthAlone) {
  TestServer server(echo_routes());
  RawClient client(server.port());
  client.send("HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const auto response = client.rest();
  EXPECT_THAT(response, HasSubstr("content-length: 28\r\n"));
  EXPECT_TRUE(response.ends_with("\r\n\r\n"));
}

TEST(Session, GivesAParameterTheDecodedSegmentUnderEveryAlias) {
  TestServer server(echo_routes());
  EXPECT_THAT(ask(server, "GET /v1/models/org%2Fname:tag HTTP/1.1\r\nHost: a\r\n\r\n"),
              HasSubstr("id=org/name:tag"));
  EXPECT_THAT(ask(server, "GET //models/x HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("id=x"));
  EXPECT_TRUE(server.observer->saw("/v1/models/{id} 200"));
}

TEST(Session, AnswersUnknownPathsAndMethodsInTheApisDialect) {
  TestServer server(echo_routes());
  EXPECT_THAT(ask(server, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("404 not_found /nothing"));
  EXPECT_THAT(
      ask(server, "PUT /echo HTTP/1.1\r\nHost: a\r\n\r\n"),
      AllOf(HasSubstr("405 method_not_allowed /echo"), HasSubstr("\r\nallow: GET, HEAD, OPTIONS, POST\r\n")));
  EXPECT_TRUE(server.observer->saw("rejected not_found"));
  EXPECT_TRUE(server.observer->saw(" 404"));
}

TEST(Session, AnswersOptionsWithOrWithoutAnOrigin) {
  TestServer server(echo_routes());
  const auto plain = ask(server, "OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(plain, AllOf(StartsWith("HTTP/1.1 204 "), HasSubstr("allow: GET, HEAD, OPTIONS, POST"),
                           Not(HasSubstr("access-control"))));
  const auto preflight = ask(server,
                             "OPTIONS /echo HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n"
                             "Access-Control-Request-Method: POST\r\n"
                             "Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n");
  EXPECT_THAT(preflight,
              AllOf(StartsWith("HTTP/1.1 204 "), HasSubstr("access-control-allow-origin: http://a\r\n"),
                    HasSubstr("access-control-allow-headers: authorization,x-stainless-os\r\n")));
}

TEST(Session, RefusesPagesOfOtherOriginsAndOtherHosts) {
  ServerOptions options;
  options.policy.hosts = {"localhost", "a.example"};
  TestServer server(echo_routes(), options);
  EXPECT_THAT(ask(server, "POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n"),
              HasSubstr("403 origin_not_allowed"));
  EXPECT_THAT(ask(server, "GET /echo HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
              HasSubstr("403 host_not_allowed"));
  EXPECT_THAT(
      ask(server, "POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n"),
      AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("access-control-allow-origin: http://localhost\r\n")));
}

TEST(Session, EchoesAWellFormedRequestIdAndReplacesAnother) {
  TestServer server(echo_routes());
  EXPECT_THAT(ask(server, "GET /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: trace.1-2_3\r\n\r\n"),
              HasSubstr("\r\nx-request-id: trace.1-2_3\r\n"));
  EXPECT_THAT(ask(server, "GET /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n"),
              HasSubstr("\r\nx-request-id: req_"));
  EXPECT_THAT(ask(server, "GET /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n"),
              HasSubstr("\r\nx-request-id: mine\r\n"));
}

TEST(Session, AsksTheGateBeforeTheBodyIsRead) {
  auto routes = echo_routes();
  routes[1].gate = [](const Request& request) -> std::optional<Response> {
    if (request.header("authorization") == "Bearer key") return std::nullopt;
    return text_response("no key", 401);
  };
  TestServer server(std::move(routes));
  RawClient client(server.port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(client.response(), StartsWith("HTTP/1.1 401 "));
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_THAT(
      ask(server,
          "POST /echo HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key\r\nContent-Length: 1\r\n\r\nx"),
      HasSubstr("[x]"));
}

TEST(Session, SendsALargeSharedBodyWhole) {
  const auto body = std::make_shared<const std::string>(3'000'000, 'x');
  TestServer server({{"GET", "/large", [body](Exchange& exchange) -> asio::awaitable<void> {
                        Response response;
                        response.body = body;
                        co_await exchange.send(std::move(response));
                      }}});
  const auto response = ask(server, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(response.ends_with(*body));
}

TEST(Session, ReceivesALargeBodyWhole) {
  Route sink{"POST", "/sink", [](Exchange& exchange) -> asio::awaitable<void> {
               const std::string body = exchange.take_body();
               const bool whole = body == std::string(5'000'000, 'x');
               co_await exchange.send(text_response(whole ? "whole" : "torn"));
             }};
  sink.body_bytes_max = 5'000'000;
  TestServer server({sink});
  EXPECT_THAT(ask(server, "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" +
                              std::string(5'000'000, 'x')),
              HasSubstr("whole"));
}

TEST(Session, EndsTheConnectionAfterItsShareOfRequests) {
  ServerOptions options;
  options.limits.requests_per_connection_max = 2;
  TestServer server(echo_routes(), options);
  RawClient client(server.port());
  client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.response(), HasSubstr("connection: keep-alive"));
  client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.response(), HasSubstr("connection: close"));
  EXPECT_TRUE(client.closed_by_server());
}

}  // namespace
}  // namespace diffused::http
