#include "http/session.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>

#include "base/log.h"
#include "http/intake.h"

namespace diffused::http {
namespace {

// What an idle connection has ready for the next request's first bytes.
constexpr std::size_t kIdleReadBytes = 1 << 10;
// Before a request; more of them are no request.
constexpr std::size_t kEmptyLinesMax = 8;
// How a request is counted whose client went away before the answer was out.
constexpr int kClientGone = 499;

// Counts an exchange while it lives.
class OpenExchange {
 public:
  explicit OpenExchange(Counters& counters) : counters_(counters) { ++counters_.exchanges_open; }
  ~OpenExchange() { --counters_.exchanges_open; }
  OpenExchange(const OpenExchange&) = delete;
  OpenExchange& operator=(const OpenExchange&) = delete;

 private:
  Counters& counters_;
};

// Ends normally whatever the handler throws: only then does the operator || cancel the watcher beside it.
asio::awaitable<void> run_guarded(const Handler& handler, Exchange& exchange, std::exception_ptr& failure) {
  try {
    co_await handler(exchange);
  } catch (...) {
    failure = std::current_exception();
  }
}

std::string what(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "not a std::exception";
  }
}

}  // namespace

Session::Session(std::unique_ptr<Transport> transport, std::string peer, std::shared_ptr<Shell> shell)
    : shell_(std::move(shell)),
      connection_(std::make_shared<Connection>(std::move(transport),
                                               std::shared_ptr<const Limits>(shell_, &shell_->limits))),
      peer_(std::move(peer)) {}

asio::awaitable<void> Session::serve(std::shared_ptr<Session> self) {
  bool more = co_await self->connection_->handshake();
  while (more) {
    more = co_await self->await_request();
    if (!more) break;
    const After after = co_await self->exchange();
    more = after == After::next;
    if (!more) co_await self->connection_->finish(after == After::drop);
  }
  self->connection_->close();
}

void Session::drain() {
  if (idle_) connection_->close();
}

// Steps over empty lines, which some clients send behind a body (RFC 9112, 2.2).
asio::awaitable<bool> Session::await_request() {
  std::size_t empty_lines = 0;
  connection_->deadline().set(shell_->limits.idle_timeout);
  while (true) {
    for (; connection_->input().starts_with("\r\n") && empty_lines < kEmptyLinesMax; ++empty_lines)
      connection_->consume(2);
    if (const auto input = connection_->input(); !input.empty() && input != "\r") co_return true;
    if (shell_->draining) co_return false;
    connection_->release_input();
    idle_ = true;
    const Read read = co_await connection_->read(kIdleReadBytes);
    idle_ = false;
    if (read != Read::bytes) co_return false;
  }
}

asio::awaitable<Session::After> Session::exchange() {
  const OpenExchange open(shell_->counters);
  const auto started = std::chrono::steady_clock::now();
  Intake intake(*connection_, *shell_, peer_);
  std::optional<Response> own = co_await intake.receive();
  if (own && own->held_back.count() > 0) co_await pause(executor(), own->held_back);
  if (connection_->closed()) co_return After::close;

  AnswerForm form = intake.form();
  if (++exchanges_ >= shell_->limits.requests_per_connection_max) form.keep_alive = false;
  const Route* route = intake.route();
  Answer answer(connection_, intake.take_request(), std::move(form));
  if (own)
    co_await answer.send_own(std::move(*own));
  else
    co_await answer_by(*route, answer);

  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  const Request& request = answer.request();
  shell_->observer->served({route != nullptr ? route->pattern : "", route != nullptr ? route->method : "",
                            connection_->closed() ? kClientGone : answer.status(), took.count(),
                            request.request_id, request.user, peer_, request.header("traceparent"),
                            answer.job()});
  if (connection_->closed()) co_return After::close;
  if (answer.keep_alive()) co_return After::next;
  co_return intake.complete() && connection_->input().empty() ? After::close : After::drop;
}

asio::awaitable<void> Session::answer_by(const Route& route, Answer& answer) {
  using namespace asio::experimental::awaitable_operators;
  std::exception_ptr failure;
  // Whoever waits for a picture and closes cannot be told from one who only has nothing more to send: the
  // first is far more frequent, and its place is wanted. What is asked for without a body is soon answered.
  const bool asks_for_work = answer.request().method == "POST";
  const auto patience = asks_for_work ? Limits::ms(0) : shell_->limits.half_close_timeout;
  co_await (run_guarded(route.handler, answer, failure) || connection_->watch(patience));
  if (connection_->closed()) co_return;
  if (failure && !answer.is_head_alone())
    co_await answer_fault(answer, what(failure));
  else if (answer.status() == 0)
    co_await answer_fault(answer, "the handler returned without an answer");
  else
    co_await answer.finish();
}

// A fault of ours: its words go to the log, the client gets none of them.
asio::awaitable<void> Session::answer_fault(Answer& answer, const std::string& what) {
  ++shell_->counters.handler_faults;
  const Request& request = answer.request();
  log(LogLevel::error, "handler_fault",
      {{"request_id", request.request_id}, {"path", request.path}, {"what", what}});
  if (answer.status() != 0) {
    // Half an answer cannot be mended; ending the connection tells the client that it is not whole.
    connection_->close();
    co_return;
  }
  const Error error{ErrorCode::internal, "The server failed on this request.", {}, "internal_error"};
  co_await answer.send_own(shell_->respond_error(error, 500, request.path));
}

}  // namespace diffused::http
