// What happens when a handler fails: the client gets a 500 and none of its words, and the server goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// The answer of a server whose handler for /fault is `handler`, and that it still serves on the same
// connection.
std::string answer_of(Handler handler) {
  TestServer server({{"GET", "/fault", std::move(handler)}, {"GET", "/fine", answer_fine}});
  RawClient client(server.port());
  client.send("GET /fault HTTP/1.1\r\nHost: a\r\n\r\nGET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto response = client.response();
  EXPECT_THAT(client.response(), HasSubstr("fine"));
  EXPECT_EQ(server.server->counters().handler_faults, 1u);
  return response;
}

TEST(HandlerFault, ThrownExceptionBecomesA500WithoutItsWords) {
  const auto response = answer_of([](Exchange&) -> asio::awaitable<void> {
    throw std::runtime_error("secret path");
    co_return;
  });
  EXPECT_THAT(response, HasSubstr("500 internal_error /fault"));
  EXPECT_THAT(response, Not(HasSubstr("secret")));
}

TEST(HandlerFault, ThingsThatAreNoExceptionsBecomeA500) {
  EXPECT_THAT(answer_of([](Exchange&) -> asio::awaitable<void> {
                throw 7;
                co_return;
              }),
              HasSubstr("500 internal_error"));
}

TEST(HandlerFault, NoAnswerBecomesA500) {
  EXPECT_THAT(answer_of([](Exchange&) -> asio::awaitable<void> { co_return; }),
              HasSubstr("500 internal_error"));
}

TEST(HandlerFault, HeaderWithLineBreakBecomesA500) {
  EXPECT_THAT(answer_of([](Exchange& exchange) -> asio::awaitable<void> {
                Response response = text_response("x");
                response.headers.emplace_back("location", "/a\r\nset-cookie: b");
                co_await exchange.send(std::move(response));
              }),
              HasSubstr("500 internal_error"));
}

TEST(HandlerFault, HeadersThatFrameTheMessageAreLeftOut) {
  TestServer server({{"GET", "/x", [](Exchange& exchange) -> asio::awaitable<void> {
                        Response response = text_response("abc");
                        response.headers.emplace_back("Content-Length", "1");
                        response.headers.emplace_back("transfer-encoding", "chunked");
                        co_await exchange.send(std::move(response));
                      }}});
  RawClient client(server.port());
  client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto response = client.response();
  EXPECT_THAT(response, HasSubstr("content-length: 3\r\n"));
  EXPECT_THAT(response, Not(HasSubstr("Content-Length: 1")));
  EXPECT_THAT(response, Not(HasSubstr("chunked")));
}

TEST(HandlerFault, SecondAnswerEndsTheConnectionAfterTheFirst) {
  TestServer server({{"GET", "/twice", [](Exchange& exchange) -> asio::awaitable<void> {
                        co_await exchange.send(text_response("first"));
                        co_await exchange.send(text_response("second"));
                      }}});
  RawClient client(server.port());
  client.send("GET /twice HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto response = client.rest();
  EXPECT_THAT(response, HasSubstr("first"));
  EXPECT_THAT(response, Not(HasSubstr("second")));
  EXPECT_TRUE(client.closed_by_server());
}

TEST(HandlerFault, FailureWithinAStreamLeavesTheMessageOpen) {
  TestServer server({{"GET", "/stream", [](Exchange& exchange) -> asio::awaitable<void> {
                        const auto stream = co_await exchange.stream({});
                        co_await stream->event("a", "1");
                        throw std::runtime_error("secret");
                      }}});
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto response = client.rest();
  EXPECT_THAT(response, HasSubstr("event: a\ndata: 1\n\n"));
  EXPECT_FALSE(response.ends_with("0\r\n\r\n"));
  EXPECT_TRUE(client.closed_by_server());
}

}  // namespace
}  // namespace diffused::http
