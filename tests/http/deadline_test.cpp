// Slow clients: every wait has an end. The deadlines are a few milliseconds here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kShort(30);

Route upload() { return {"POST", "/upload", answer_fine, 1 << 20}; }

TEST(Deadline, HeaderThatDoesNotEnd) {
  ServerOptions options;
  options.limits.header_timeout = kShort;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("GET /upload HTTP/1.1\r\nHost:");
  EXPECT_THAT(client.rest(), HasSubstr("408 header_timeout /"));
  EXPECT_TRUE(client.closed_by_server());
}

// The deadline is for the whole header: a byte now and then does not move it.
TEST(Deadline, HeaderThatDrips) {
  ServerOptions options;
  options.limits.header_timeout = kShort;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("GET /upload HTTP/1.1\r\nHost: a\r\n");
  while (client.received().empty() && client.send("X: a\r\n")) client.read_within(milliseconds(2));
  EXPECT_THAT(client.rest(), HasSubstr("408 header_timeout /"));
}

TEST(Deadline, IdleConnectionEndsWithoutAWord) {
  ServerOptions options;
  options.limits.idle_timeout = milliseconds(300);  // a busy machine must get its request out within it
  TestServer server({upload()}, options);
  RawClient fresh(server.port());
  EXPECT_EQ(fresh.rest(), "");
  EXPECT_TRUE(fresh.closed_by_server());
  RawClient used(server.port());
  used.send("POST /upload HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(used.response(), HasSubstr("fine"));
  EXPECT_EQ(used.rest(), "");
  EXPECT_TRUE(used.closed_by_server());
}

TEST(Deadline, BodyThatStops) {
  ServerOptions options;
  options.limits.body_timeout = kShort;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
  EXPECT_THAT(client.rest(), HasSubstr("408 body_timeout /upload"));
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Deadline, BodyThatIsSilent) {
  ServerOptions options;
  options.limits.body_idle_timeout = kShort;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" +
              std::string(99'999, 'x'));
  EXPECT_THAT(client.rest(), HasSubstr("408 body_timeout /upload"));
}

TEST(Deadline, AnswerThatIsHeldBack) {
  Route route = upload();
  route.gate = [](const Request&) -> std::optional<Response> {
    Response response = text_response("a guess", 401);
    response.held_back = milliseconds(100);
    return response;
  };
  TestServer server({std::move(route)});
  RawClient client(server.port());
  const auto sent = std::chrono::steady_clock::now();
  client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  EXPECT_THAT(client.response(), HasSubstr("a guess"));
  EXPECT_GE(std::chrono::steady_clock::now() - sent, milliseconds(100));
}

TEST(Deadline, BodyThatDripsSlowerThanTheLeastRate) {
  ServerOptions options;
  options.limits.body_timeout = kShort;
  options.limits.body_bytes_per_second_min = 1 << 20;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  while (client.received().empty() && client.send("x")) client.read_within(milliseconds(2));
  EXPECT_THAT(client.rest(), HasSubstr("408 body_timeout"));
}

// 1,000 bytes at 1 kB a second may take a second more than the fixed part of the deadline.
TEST(Deadline, BodyAtTheLeastRateMayTakeItsTime) {
  ServerOptions options;
  options.limits.body_timeout = milliseconds(100);
  options.limits.body_bytes_per_second_min = 1 << 10;
  TestServer server({upload()}, options);
  RawClient client(server.port());
  client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n" + std::string(1000, 'x'));
  EXPECT_FALSE(client.read_within(milliseconds(200)));
  client.send("x");
  EXPECT_THAT(client.response(), HasSubstr("fine"));
}

TEST(Deadline, ClientThatDoesNotReadItsAnswer) {
  ServerOptions options;
  options.limits.write_timeout = kShort;
  const auto body = std::make_shared<const std::string>(64 << 20, 'x');
  TestServer server({{"GET", "/large",
                      [body](Exchange& exchange) -> asio::awaitable<void> {
                        Response response;
                        response.body = body;
                        co_await exchange.send(std::move(response));
                      }}},
                    options);
  RawClient client(server.port());
  client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(server.observer->saw("/large 499"));
}

// Deadlines of reading do not outlive the request: the handler may take longer.
TEST(Deadline, HandlerMayTakeLongerThanAnyOfThem) {
  ServerOptions options;
  options.limits.header_timeout = options.limits.body_timeout = kShort;
  TestServer server({{"POST", "/slow",
                      [](Exchange& exchange) -> asio::awaitable<void> {
                        asio::steady_timer timer(exchange.executor(), 4 * kShort);
                        co_await timer.async_wait(asio::use_awaitable);
                        co_await exchange.send(text_response("late"));
                      }}},
                    options);
  RawClient client(server.port());
  client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
  EXPECT_THAT(client.response(), HasSubstr("late"));
}

}  // namespace
}  // namespace diffused::http
