// A client that goes away takes its handler with it; one that only sends early does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

constexpr char kGetWaiting[] = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";

// A route whose handler says when it began and when its locals are gone.
struct Waiting {
  Signal began;
  Signal ended;
  Latch latch;

  Route route() {
    return {"GET", "/wait", [this](Exchange& exchange) -> asio::awaitable<void> {
              const Raiser ticket(ended);
              began.raise();
              co_await latch.wait(exchange.executor());
              co_await exchange.send(text_response("waited"));
            }};
  }
};

// For clients that close and are not waited for.
ServerOptions hasty() {
  ServerOptions options;
  options.limits.half_close_timeout = std::chrono::milliseconds(0);
  return options;
}

TEST(Cancellation, ClientThatClosesWhileTheHandlerWaits) {
  Waiting waiting;
  TestServer server({waiting.route()}, hasty());
  RawClient client(server.port());
  client.send(kGetWaiting);
  ASSERT_TRUE(waiting.began.wait());
  client.close();
  EXPECT_TRUE(waiting.ended.wait());
  EXPECT_TRUE(server.observer->saw("/wait 499"));
  server.start_drain(hours(1)).get();
}

TEST(Cancellation, ClientThatResetsWhileTheHandlerWaits) {
  Waiting waiting;
  TestServer server({waiting.route()});
  RawClient client(server.port());
  client.send(kGetWaiting);
  ASSERT_TRUE(waiting.began.wait());
  client.reset();
  EXPECT_TRUE(waiting.ended.wait());
  EXPECT_TRUE(server.observer->saw("/wait 499"));
}

TEST(Cancellation, ClientThatClosesBehindAnEarlyRequest) {
  Waiting waiting;
  TestServer server({waiting.route()}, hasty());
  RawClient client(server.port());
  client.send(std::string(kGetWaiting) + kGetWaiting);
  ASSERT_TRUE(waiting.began.wait());
  client.close();
  EXPECT_TRUE(waiting.ended.wait());
  server.start_drain(hours(1)).get();
}

TEST(Cancellation, ClientThatFilledTheInputAndResets) {
  Waiting waiting;
  TestServer server({waiting.route()});
  RawClient client(server.port());
  client.send(kGetWaiting);
  ASSERT_TRUE(waiting.began.wait());
  // More than the server keeps: it stops reading ahead.
  const std::string flood(1 << 20, 'x');
  client.send_some(flood);
  client.reset();
  EXPECT_TRUE(waiting.ended.wait());
}

TEST(Cancellation, BytesThatComeEarlyAreServedNext) {
  Waiting waiting;
  TestServer server({waiting.route()});
  RawClient client(server.port());
  client.send(kGetWaiting);
  ASSERT_TRUE(waiting.began.wait());
  client.send("GET /wait HTTP/1.1\r\nHost: a\r\nX-Request-Id: second\r\n\r\n");
  waiting.latch.open();
  EXPECT_THAT(client.response(), HasSubstr("waited"));
  EXPECT_THAT(client.response(), HasSubstr("x-request-id: second"));
}

// Half a goodbye: it reads on.
TEST(Cancellation, ClientThatEndsItsSideIsAnswered) {
  Waiting waiting;
  ServerOptions options;
  options.limits.half_close_timeout = hours(1);
  TestServer server({waiting.route()}, options);
  RawClient client(server.port());
  client.send(kGetWaiting);
  client.shutdown_send();
  ASSERT_TRUE(waiting.began.wait());
  EXPECT_FALSE(waiting.ended.wait_for(std::chrono::milliseconds(50)));
  waiting.latch.open();
  EXPECT_THAT(client.response(), HasSubstr("waited"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Cancellation, ClientThatEndsItsSideIsNotWaitedForLong) {
  Waiting waiting;
  ServerOptions options;
  options.limits.half_close_timeout = std::chrono::milliseconds(20);
  TestServer server({waiting.route()}, options);
  RawClient client(server.port());
  client.send(kGetWaiting);
  client.shutdown_send();
  EXPECT_TRUE(waiting.ended.wait());
  EXPECT_TRUE(server.observer->saw("/wait 499"));
}

// Its work is given up: nobody could tell it from a client that has gone.
TEST(Cancellation, ClientThatEndsItsSideBehindWork) {
  Waiting waiting;
  ServerOptions options;
  options.limits.half_close_timeout = hours(1);
  Route route = waiting.route();
  route.method = "POST";
  TestServer server({std::move(route)}, options);
  RawClient client(server.port());
  client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  client.shutdown_send();
  EXPECT_TRUE(waiting.ended.wait());
  EXPECT_TRUE(server.observer->saw("/wait 499"));
}

TEST(Cancellation, ClientThatClosesInTheMiddleOfItsBody) {
  Signal ran;
  ServerOptions options;
  options.memory = std::make_shared<MemoryBudget>(1 << 20);
  TestServer server({{"POST", "/upload",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        ran.raise();
                        co_await exchange.send(text_response("received"));
                      }}},
                    options);
  for (const bool reset : {false, true}) {
    RawClient client(server.port());
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n");
    ASSERT_THAT(client.response(), HasSubstr("100 Continue"));
    client.send("half");
    reset ? client.reset() : client.close();
  }
  server.start_drain(hours(1)).get();
  EXPECT_EQ(options.memory->bytes_held(), 0u);
  EXPECT_FALSE(server.observer->seen("/upload 200"));
}

TEST(Cancellation, ClientThatClosesInTheMiddleOfAStream) {
  Signal ended;
  TestServer server({{"GET", "/stream",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        const Raiser ticket(ended);
                        const auto stream = co_await exchange.stream({});
                        co_await stream->event("step", "1");
                        co_await wait_forever(exchange.executor());
                      }}},
                    hasty());
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(client.read_until("data: 1"));
  client.close();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(server.observer->saw("/stream 499"));
}

TEST(Cancellation, ClientThatClosesWhileALargeAnswerIsWritten) {
  Signal ended;
  const auto body = std::make_shared<const std::string>(64 << 20, 'x');
  TestServer server({{"GET", "/large", [&](Exchange& exchange) -> asio::awaitable<void> {
                        const Raiser ticket(ended);
                        Response response;
                        response.body = body;
                        co_await exchange.send(std::move(response));
                      }}});
  RawClient client(server.port());
  client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(client.read_until("xxxx"));
  client.reset();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(server.observer->saw("/large 499"));
}

TEST(Cancellation, ServerThatIsDestroyedWhileHandlersWait) {
  Waiting waiting;
  RawClient client;
  {
    TestServer server({waiting.route()});
    client.connect(server.port());
    client.send(kGetWaiting);
    ASSERT_TRUE(waiting.began.wait());
  }
  EXPECT_TRUE(waiting.ended.wait());
  EXPECT_TRUE(client.closed_by_server());
}

}  // namespace
}  // namespace diffused::http
