// Server-sent events over a connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

asio::awaitable<void> two_events(Exchange& exchange) {
  Headers headers = {{"openai-version", "2020-10-01"}};
  const auto stream = co_await exchange.stream(std::move(headers));
  co_await stream->comment("hello");
  co_await stream->event("first", "{\"a\":1}");
  co_await stream->event("", "{}");
}

TEST(Stream, SendsEventsInChunksAndKeepsTheConnection) {
  TestServer server({{"GET", "/events", two_events}});
  RawClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_THAT(client.head(),
                AllOf(HasSubstr("content-type: text/event-stream\r\n"),
                      HasSubstr("transfer-encoding: chunked\r\n"), HasSubstr("cache-control: no-cache\r\n"),
                      HasSubstr("openai-version: 2020-10-01\r\n"), Not(HasSubstr("content-length"))));
    EXPECT_EQ(client.take_until("0\r\n\r\n"),
              "9\r\n: hello\n\n\r\n"
              "1c\r\nevent: first\ndata: {\"a\":1}\n\n\r\n"
              "a\r\ndata: {}\n\n\r\n"
              "0\r\n\r\n");
  }
}

TEST(Stream, AnswersHeadAtOnceAndServesOn) {
  Signal ended;
  TestServer server({{"GET", "/events", [&](Exchange& exchange) -> asio::awaitable<void> {
                        const Raiser ticket(ended);
                        const auto stream = co_await exchange.stream({});
                        co_await wait_forever(exchange.executor());
                      }}});
  RawClient client(server.port());
  client.send("HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.head(), HasSubstr("content-type: text/event-stream\r\n"));
  EXPECT_TRUE(ended.wait());
  client.send("HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.head(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(server.server->counters().handler_faults, 0u);
}

asio::awaitable<void> pieces(Exchange& exchange) {
  Response head;
  head.status = 201;
  head.content_type = "application/json";
  const auto body = co_await exchange.begin(std::move(head));
  co_await body->bytes(" ");
  co_await body->bytes("{}");
}

TEST(Stream, SendsAnyBodyInPieces) {
  TestServer server({{"GET", "/slow", pieces}});
  RawClient client(server.port());
  client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.head(),
              AllOf(StartsWith("HTTP/1.1 201"), HasSubstr("content-type: application/json\r\n")));
  EXPECT_EQ(client.take_until("0\r\n\r\n"), "1\r\n \r\n2\r\n{}\r\n0\r\n\r\n");
}

TEST(Stream, EndsWithTheConnectionForHttp10) {
  TestServer server({{"GET", "/events", two_events}});
  RawClient client(server.port());
  client.send("GET /events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.head(), AllOf(Not(HasSubstr("chunked")), HasSubstr("connection: close\r\n")));
  EXPECT_EQ(client.rest(), ": hello\n\nevent: first\ndata: {\"a\":1}\n\ndata: {}\n\n");
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Stream, SendsNothingForHead) {
  TestServer server({{"GET", "/events", two_events}});
  RawClient client(server.port());
  client.send("HEAD /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.head(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(client.rest(), "");
}

TEST(Stream, LateEventsThrow) {
  std::promise<std::pair<std::shared_ptr<EventStream>, asio::any_io_executor>> kept;
  TestServer server({{"GET", "/events", [&](Exchange& exchange) -> asio::awaitable<void> {
                        auto stream = co_await exchange.stream({});
                        kept.set_value({std::move(stream), exchange.executor()});
                      }}});
  RawClient client(server.port());
  client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(server.observer->saw("/events 200"));
  const auto [stream, executor] = kept.get_future().get();
  // A stream belongs to its exchange's executor, after the exchange too.
  auto late = asio::co_spawn(executor, stream->event("late", "{}"), asio::use_future);
  EXPECT_THROW(late.get(), boost::system::system_error);
}

TEST(Stream, CutsOffAClientThatStopsReading) {
  ServerOptions options;
  options.limits.stream_write_timeout = std::chrono::milliseconds(30);
  Signal ended;
  TestServer server({{"GET", "/flood",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        const Raiser ticket(ended);
                        const auto stream = co_await exchange.stream({});
                        const std::string data(1 << 20, 'x');
                        while (true) co_await stream->event("e", data);
                      }}},
                    options);
  RawClient client(server.port());
  client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(server.observer->saw("/flood 499"));
}

// While one event waits for the client, another coroutine may leave more, up to the backlog.
TEST(Stream, CutsOffAClientBehindAFullBacklog) {
  Signal ended;
  ServerOptions options;
  options.limits.stream_backlog_bytes_max = 1000;
  TestServer server({{"GET", "/flood",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        using namespace asio::experimental::awaitable_operators;
                        const Raiser ticket(ended);
                        const auto stream = co_await exchange.stream({});
                        const std::string large(16 << 20, 'x');  // more than both sockets hold
                        const auto small = [&]() -> asio::awaitable<void> {
                          while (true) co_await stream->event("small", "0123456789");
                        };
                        co_await (stream->event("large", large) && small());
                      }}},
                    options);
  RawClient client(server.port());
  client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(server.observer->saw("/flood 499"));
}

// An event whose coroutine is cancelled is sent whole or not at all.
TEST(Stream, CancelledEventsAreNotTorn) {
  Signal cancelled;
  TestServer server({{"GET", "/events", [&](Exchange& exchange) -> asio::awaitable<void> {
                        using namespace asio::experimental::awaitable_operators;
                        const auto stream = co_await exchange.stream({});
                        asio::steady_timer soon(exchange.executor(), std::chrono::milliseconds(5));
                        const std::string large(32 << 20, 'x');
                        const auto raise = [&]() -> asio::awaitable<void> {
                          co_await soon.async_wait(asio::use_awaitable);
                          cancelled.raise();
                        };
                        co_await (stream->event("large", large) || raise());
                        co_await stream->event("after", "{}");
                      }}});
  RawClient client(server.port());
  client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(cancelled.wait());
  client.head();
  const auto chunk = client.take_until("\r\n");
  const std::string event = "event: large\ndata: " + std::string(32 << 20, 'x') + "\n\n";
  EXPECT_EQ(std::stoul(chunk, nullptr, 16), event.size());
  const auto rest = client.take_until("event: after");
  EXPECT_TRUE(rest.starts_with(event + "\r\n"));
}

}  // namespace
}  // namespace diffused::http
