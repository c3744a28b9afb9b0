// What a connection costs while nothing happens on it, and how the server answers meanwhile: opens COUNT
// connections (default 10,000), makes one request on each, leaves them open, and prints one JSON object. The
// clients live in a child process, so that the memory measured is the server's alone.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "http/server.h"

namespace {

using namespace diffused;
using namespace diffused::http;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kGet = "GET /health HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\r\n";

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

void request(int fd) {
  CHECK(::send(fd, kGet.data(), kGet.size(), 0) == static_cast<ssize_t>(kGet.size()));
  char answer[4096];
  CHECK(::recv(fd, answer, sizeof answer, 0) > 0);
}

double new_request_ms(std::uint16_t port) {
  const auto begun = Clock::now();
  const int fd = connect_to(port);
  request(fd);
  ::close(fd);
  return std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
}

// Requests a second when nobody waits: sent one behind the other on connections of 1,000 requests each.
double pipelined_rate(std::uint16_t port) {
  constexpr int kConnections = 50, kRequests = 1000;
  const auto begun = Clock::now();
  for (int i = 0; i < kConnections; ++i) {
    const int fd = connect_to(port);
    std::thread sender([fd] {
      std::string batch;
      for (int k = 0; k < 50; ++k) batch += kGet;
      for (int k = 0; k < kRequests / 50; ++k) CHECK(::send(fd, batch.data(), batch.size(), 0) > 0);
    });
    char answers[64 << 10];
    while (::recv(fd, answers, sizeof answers, 0) > 0) continue;
    sender.join();
    ::close(fd);
  }
  return kConnections * kRequests / std::chrono::duration<double>(Clock::now() - begun).count();
}

// The child: says when its connections are open, then measures, then waits for the parent to have measured.
void be_clients(std::uint16_t port, int count, int say, int hear) {
  std::vector<int> open;
  for (int i = 0; i < count; ++i) {
    open.push_back(connect_to(port));
    request(open.back());
  }
  CHECK(::write(say, "x", 1) == 1);
  char byte;
  CHECK(::read(hear, &byte, 1) == 1);
  std::vector<double> times_ms;
  for (int i = 0; i < 200; ++i) times_ms.push_back(new_request_ms(port));
  std::sort(times_ms.begin(), times_ms.end());
  std::printf(
      "\"new_request_p50_ms\": %.2f, \"new_request_p99_ms\": %.2f, \"pipelined_requests_per_s\": %.0f}\n",
      times_ms[100], times_ms[198], pipelined_rate(port));
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 10'000;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  CHECK_WITH(files.rlim_cur > static_cast<rlim_t>(count) + 100, "the limit on open files is too low");

  asio::io_context io;
  ServerOptions options;
  options.limits.connections_per_address_max = static_cast<std::size_t>(count) + 100;
  const auto fail = [](const Error&, int status, std::string_view) {
    Response response;
    response.status = status;
    return response;
  };
  Server server(io, options,
                {{"GET", "/health",
                  [](Exchange& exchange) -> asio::awaitable<void> {
                    Response response;
                    response.body = std::make_shared<const std::string>("{\"status\":\"ok\"}");
                    co_await exchange.send(std::move(response));
                  }}},
                fail);
  CHECK(server.listen());

  int to_parent[2], to_child[2];
  CHECK(::pipe(to_parent) == 0 && ::pipe(to_child) == 0);
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    be_clients(server.port(), count, to_parent[1], to_child[0]);
    std::fflush(stdout);
    _exit(0);
  }
  std::thread io_thread([&] { io.run(); });
  new_request_ms(server.port());
  const double before = resident_bytes();
  char byte;
  CHECK(::read(to_parent[0], &byte, 1) == 1);
  std::printf("{\"connections\": %d, \"bytes_each\": %.0f, ", count, (resident_bytes() - before) / count);
  std::fflush(stdout);
  CHECK(::write(to_child[1], "x", 1) == 1);
  ::waitpid(child, nullptr, 0);
  server.close();
  io_thread.join();
}
