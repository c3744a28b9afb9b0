// What comes over a connection.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "base/check.h"
#include "base/memory_budget.h"
#include "base/utf8.h"
#include "fuzz/targets.h"
#include "http/multipart.h"
#include "http/policy.h"
#include "http/session.h"
#include "http/target.h"
#include "http/wire_format.h"

namespace diffused::fuzz {
namespace {

namespace asio = boost::asio;
using http::Transfer;

// A client that sends `bytes` in pieces, takes so many of the answer, and is gone then.
class ScriptedTransport final : public http::Transport {
 public:
  struct Script {
    std::string_view bytes;
    std::size_t piece_bytes = 1;
    std::size_t taken_max = 1 << 20;
  };

  ScriptedTransport(asio::io_context& io, Script script, std::string& answer)
      : executor_(io.get_executor()), ended_(executor_), script_(script), answer_(answer) {
    ended_.expires_at(asio::steady_timer::time_point::max());
  }

  asio::any_io_executor executor() override { return executor_; }
  bool secure() const override { return false; }
  asio::awaitable<boost::system::error_code> handshake() override { co_return boost::system::error_code(); }
  asio::awaitable<Transfer> read_some(asio::mutable_buffer buffer) override {
    co_await asio::post(executor_, asio::use_awaitable);
    const auto piece = script_.bytes.substr(0, std::min(buffer.size(), script_.piece_bytes));
    if (closed_ || piece.empty()) co_return Transfer{asio::error::eof, 0};
    std::copy(piece.begin(), piece.end(), static_cast<char*>(buffer.data()));
    script_.bytes.remove_prefix(piece.size());
    co_return Transfer{{}, piece.size()};
  }
  asio::awaitable<Transfer> write(std::span<const asio::const_buffer> buffers) override {
    std::size_t bytes = 0;
    for (const auto& buffer : buffers) {
      answer_.append(static_cast<const char*>(buffer.data()), buffer.size());
      bytes += buffer.size();
    }
    if (closed_ || answer_.size() > script_.taken_max) co_return Transfer{asio::error::broken_pipe, 0};
    co_return Transfer{{}, bytes};
  }
  asio::awaitable<void> failure() override {
    try {
      co_await ended_.async_wait(asio::use_awaitable);
    } catch (const boost::system::system_error&) {  // how a cancelled wait ends
    }
  }
  asio::awaitable<void> shutdown_send() override { co_return; }
  void cancel() override { ended_.cancel(); }
  void close() override {
    closed_ = true;
    ended_.cancel();
  }

 private:
  asio::any_io_executor executor_;
  asio::steady_timer ended_;
  Script script_;
  std::string& answer_;
  bool closed_ = false;
};

asio::awaitable<void> echo(http::Exchange& exchange) {
  http::Response response;
  response.content_type = "text/plain";
  response.body = std::make_shared<const std::string>(exchange.take_body());
  co_await exchange.send(std::move(response));
}

asio::awaitable<void> stream(http::Exchange& exchange) {
  const auto out = co_await exchange.stream({});
  for (const char* const word : {"one", "two"}) co_await out->event("word", word);
}

http::Response plain_error(const Error& error, int status, std::string_view) {
  http::Response response;
  response.status = status;
  response.body = std::make_shared<const std::string>(error.message);
  return response;
}

std::shared_ptr<http::Shell> make_shell() {
  std::vector<http::Route> routes{{"GET", "/echo", echo},
                                  {"POST", "/echo", echo, 1000},
                                  {"GET", "/stream", stream},
                                  {"GET", "/v1/models/{id*}", echo, 0, nullptr, {"/models/{id*}"}},
                                  {"DELETE", "/jobs/{id}", echo, 100}};
  return std::make_shared<http::Shell>(http::Limits{}, http::HostPolicy{}, std::move(routes), plain_error,
                                       nullptr, std::make_shared<MemoryBudget>(64 << 20));
}

// The first bytes say how the rest of them comes and when the client goes.
ScriptedTransport::Script read_script(std::string_view bytes) {
  if (bytes.size() < 2) return {bytes};
  const auto number = [&](std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[at]));
  };
  return {bytes.substr(2), 1 + number(0), number(1) == 255 ? std::size_t{1} << 20 : 8 * number(1)};
}

}  // namespace

// Requests on one connection, byte for byte.
void http_session(std::string_view bytes) {
  asio::io_context io;
  const auto shell = make_shell();
  std::string answer;
  std::exception_ptr failure;
  auto session = std::make_shared<http::Session>(
      std::make_unique<ScriptedTransport>(io, read_script(bytes), answer), "192.0.2.7", shell);
  asio::co_spawn(io, http::Session::serve(std::move(session)), [&](std::exception_ptr e) { failure = e; });
  io.run();
  CHECK(!failure);
  CHECK(answer.empty() || answer.starts_with("HTTP/1.1 "));
  session.reset();
  CHECK(shell->counters.exchanges_open == 0 && shell->memory->bytes_held() == 0);
  CHECK(shell->counters.handler_faults == 0);
}

// The Content-Type, an empty line, the body.
void multipart(std::string_view bytes) {
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const std::string_view body = bytes.substr(std::min(end + 1, bytes.size()));
  const auto parts = http::parse_multipart(bytes.substr(0, end), body);
  if (!parts) return;
  CHECK(parts->size() <= http::MultipartLimits().parts_max);
  for (const http::Part& part : *parts) {
    CHECK(!part.name.empty());
    CHECK(part.data.empty() || (part.data.data() >= body.data() &&
                                part.data.data() + part.data.size() <= body.data() + body.size()));
  }
}

// A target, a Host and an Origin, a line each.
void url_and_host(std::string_view bytes) {
  std::string_view lines[3];
  for (std::string_view& line : lines) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  const auto target = http::parse_target(lines[0]);
  if (target) {
    CHECK(target->path.starts_with('/') && is_utf8(target->path));
    for (const std::string& segment : target->segments)
      CHECK(segment != ".." && segment.find('\0') == segment.npos);
  }
  const http::HostPolicy policy{{"localhost", "pictures.example"}, true, {"https://app.example:8443"}};
  const bool host = http::check_host(policy, lines[1]).has_value();
  CHECK(!host || lines[1].find_first_of("/@ ") == std::string_view::npos);
  static_cast<void>(http::origin_allowed(policy, lines[2], lines[1], false));
  http::RequestHead head;
  head.method = "POST";
  head.headers = {{"host", std::string(lines[1])}, {"origin", std::string(lines[2])}};
  CHECK(!http::check_origin(policy, head, true) ||
        http::headers_valid(http::cors_headers(policy, head, true)) ||
        lines[2].find_first_of("\r\n\0") != std::string_view::npos);
}

}  // namespace diffused::fuzz
