// Listening, limits on connections, and the end of a server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "http/raw_client.h"
#include "http/test_server.h"

namespace diffused::http {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGetFine[] = "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n";

Route fine() { return {"GET", "/fine", answer_fine}; }

Route waiting(Signal& began, Latch& latch, Signal& ended) {
  return {"GET", "/wait", [&](Exchange& exchange) -> asio::awaitable<void> {
            const Raiser ticket(ended);
            began.raise();
            co_await latch.wait(exchange.executor());
            co_await exchange.send(text_response("waited"));
          }};
}

TEST(Server, ReportsAnAddressInUseAndANameOfNobody) {
  TestServer first({fine()});
  asio::io_context io;
  Server second(io, {.port = first.port()}, {fine()}, plain_error);
  const auto taken = second.listen();
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::unavailable);
  Server nowhere(io, {.host = "256.0.0.1"}, {fine()}, plain_error);
  const auto unknown = nowhere.listen();
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(unknown.error().field, "host");
}

TEST(Server, ListensOnLocalhostByName) {
  ServerOptions options;
  options.host = "localhost";
  TestServer server({fine()}, options);
  EXPECT_NE(server.port(), 0);
}

// Clients send all of a body before they look for an answer: closing earlier takes it away from them.
TEST(Server, ABodyThatIsRefusedMayComeToItsEnd) {
  Route route = fine();
  route.method = "POST";
  route.body_bytes_max = 1000;
  TestServer server({route});
  RawClient client(server.port());
  const std::string body(std::size_t{8} << 20, 'x');
  EXPECT_TRUE(client.send("POST /fine HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n"));
  EXPECT_TRUE(client.send(body));
  EXPECT_EQ(status_of(client.response()), 413);
}

TEST(Server, TurnsAwayConnectionsAboveTheLimits) {
  ServerOptions options;
  options.limits.connections_per_address_max = 2;
  TestServer server({fine()}, options);
  RawClient first(server.port()), second(server.port());
  first.send(kGetFine);
  second.send(kGetFine);
  EXPECT_THAT(first.response(), HasSubstr("fine"));
  EXPECT_THAT(second.response(), HasSubstr("fine"));
  EXPECT_EQ(server.server->counters().connections_open, 2u);
  RawClient third(server.port());
  EXPECT_THAT(third.rest(), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("503 address_limit")));
  EXPECT_TRUE(server.observer->saw("rejected address_limit"));

  first.close();
  second.close();
  server.start_drain(hours(1)).get();
  EXPECT_EQ(server.server->counters().connections_open, 0u);
}

TEST(Server, TurnsAwayConnectionsAboveTheTotal) {
  ServerOptions options;
  options.limits.connections_max = 1;
  TestServer server({fine()}, options);
  RawClient first(server.port());
  first.send(kGetFine);
  EXPECT_THAT(first.response(), HasSubstr("fine"));
  RawClient second(server.port());
  EXPECT_THAT(second.rest(), HasSubstr("503 connection_limit"));
}

TEST(Server, BoundsAllBodiesTogether) {
  ServerOptions options;
  options.memory = std::make_shared<MemoryBudget>(300'000);
  Signal began, ended;
  Latch latch;
  Route upload = waiting(began, latch, ended);
  upload.method = "POST";
  TestServer server({upload}, options);
  const std::string request =
      "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x');
  RawClient first(server.port());
  first.send(request);
  ASSERT_TRUE(began.wait());
  RawClient second(server.port());
  second.send(request);
  EXPECT_THAT(second.rest(), HasSubstr("429 memory_share"));
  RawClient small(server.port());
  small.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'x'));
  EXPECT_FALSE(small.read_within(std::chrono::milliseconds(50)));  // it is with its handler
  latch.open();
  EXPECT_THAT(small.response(), HasSubstr("waited"));
  EXPECT_THAT(first.response(), HasSubstr("waited"));
  first.send(request);
  EXPECT_THAT(first.response(), HasSubstr("waited"));
}

TEST(Server, BoundsAnswersThatWaitForTheirReaders) {
  ServerOptions options;
  options.memory = std::make_shared<MemoryBudget>(64 << 20);
  const auto body = std::make_shared<const std::string>(30 << 20, 'x');
  TestServer server({{"GET", "/large",
                      [&](Exchange& exchange) -> asio::awaitable<void> {
                        Response response;
                        response.body = body;
                        co_await exchange.send(std::move(response));
                      }}},
                    options);
  RawClient slow(server.port());
  slow.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(slow.read_until("xxxx"));
  RawClient second(server.port());
  second.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(second.response(), HasSubstr("429 memory_share /large"));
  slow.close();
  EXPECT_TRUE(becomes_true([&] { return options.memory->bytes_held() == 0; }));
}

TEST(Server, GoesOnWhenDescriptorsRunOut) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP()
      << "the sanitizer of undefined behaviour opens a pipe for each class it meets, and takes a pipe "
         "that cannot be opened for an object of another class";
#endif
  ServerOptions options;
  options.limits.accept_pause = milliseconds(5);
  TestServer server({fine()}, options);
  RawClient open(server.port());
  open.send(kGetFine);
  EXPECT_THAT(open.response(), HasSubstr("fine"));

  RawClient late;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{static_cast<rlim_t>(late.descriptor()) + 1, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> gaps;
  for (int fd = dup(0); fd >= 0; fd = dup(0)) gaps.push_back(fd);

  EXPECT_TRUE(late.connect(server.port()));
  late.send(kGetFine);
  EXPECT_TRUE(server.observer->saw("rejected accept_failed"));
  open.send(kGetFine);
  EXPECT_THAT(open.response(), HasSubstr("fine"));

  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const int fd : gaps) ::close(fd);
  EXPECT_THAT(late.response(), HasSubstr("fine"));
}

TEST(Server, DrainEndsIdleConnectionsAndLetsExchangesFinish) {
  Signal began, ended;
  Latch latch;
  TestServer server({fine(), waiting(began, latch, ended)});
  RawClient idle(server.port()), fresh(server.port()), busy(server.port());
  idle.send(kGetFine);
  idle.response();
  busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(began.wait());
  // A client has its answer a moment before the server's other thread is done with the exchange.
  EXPECT_TRUE(becomes_true([&] { return server.server->counters().exchanges_open == 1u; }));

  auto drained = server.start_drain(hours(1));
  EXPECT_EQ(idle.rest(), "");
  EXPECT_TRUE(idle.closed_by_server());
  EXPECT_TRUE(fresh.closed_by_server());
  EXPECT_FALSE(RawClient().connect(server.port()));
  latch.open();
  EXPECT_THAT(busy.response(), AllOf(HasSubstr("waited"), HasSubstr("connection: close\r\n")));
  EXPECT_TRUE(busy.closed_by_server());
  drained.get();
  EXPECT_EQ(server.server->counters().connections_open, 0u);
  EXPECT_EQ(server.server->counters().exchanges_open, 0u);
}

TEST(Server, DrainCancelsHandlersAfterTheGrace) {
  Signal began, ended;
  Latch never;
  TestServer server({waiting(began, never, ended)});
  RawClient client(server.port());
  client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(began.wait());
  server.start_drain(milliseconds(20)).get();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Server, StopAcceptingLeavesConnectionsOpen) {
  TestServer server({fine()});
  RawClient client(server.port());
  client.send(kGetFine);
  EXPECT_THAT(client.response(), HasSubstr("fine"));
  server.server->stop_accepting();
  RawClient late;
  while (late.connect(server.port())) {
    // The port closes on another thread, at once; who came a moment before is still served, until it goes.
    late.shutdown_send();
    EXPECT_TRUE(late.closed_by_server());
    late.reopen();
  }
  client.send(kGetFine);
  EXPECT_THAT(client.response(), AllOf(HasSubstr("fine"), HasSubstr("connection: keep-alive")));
}

TEST(Server, ContextDestroyedUnderOpenConnections) {
  Signal began, ended;
  Latch never;
  RawClient client;
  {
    asio::io_context io;
    Server server(io, {.policy = {.hosts = {"a"}, .origins = {}}}, {waiting(began, never, ended)},
                  plain_error);
    ASSERT_TRUE(server.listen());
    client.connect(server.port());
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    while (!began.wait_for(milliseconds(0))) io.run_one();
  }
  EXPECT_TRUE(ended.wait());
}

}  // namespace
}  // namespace diffused::http
