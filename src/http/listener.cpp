#include "http/listener.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/last_word.h"
#include "base/log.h"
#include "http/address.h"
#include "http/tls.h"
#include "http/wire_format.h"

namespace diffused::http {

using boost::system::error_code;
using Tcp = asio::ip::tcp;

namespace {
// A machine that is out of descriptors stays so for a while.
constexpr auto kComplaintInterval = std::chrono::seconds(10);
}  // namespace

Listener::Listener(asio::io_context& io, ServerOptions options, std::vector<Route> routes,
                   ErrorResponder respond_error)
    : io_(io),
      host_(std::move(options.host)),
      port_(options.port),
      tls_files_(std::move(options.tls)),
      shell_(std::make_shared<Shell>(options.limits, std::move(options.policy), std::move(routes),
                                     std::move(respond_error), std::move(options.observer),
                                     std::move(options.memory))),
      strand_(asio::make_strand(io)),
      acceptor_(strand_),
      changed_(strand_) {}

Result<void> Listener::listen() {
  if (tls_files_) {
    TRY(tls_, make_tls_context(tls_files_->certificate, tls_files_->key));
  }
  error_code error;
  const auto found = Tcp::resolver(io_).resolve(host_, std::to_string(port_), Tcp::resolver::passive, error);
  if (error || found.empty())
    return fail(ErrorCode::invalid_argument, "no address of this machine is called " + host_, "host");
  const Tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  if (error)
    return fail(ErrorCode::unavailable,
                "cannot listen on " + host_ + " port " + std::to_string(port_) + ": " + error.message(),
                "port");
  asio::co_spawn(strand_, accept_all(shared_from_this()), [](const std::exception_ptr& fault) {
    // A server that accepts nobody any more must not look like one.
    if (fault) end_process("accept_ended", fault);
  });
  return {};
}

void Listener::stop_accepting() {
  asio::post(strand_, [self = shared_from_this()] { self->stop(); });
}

Result<void> Listener::reload_certificate() {
  TRY(auto fresh, make_tls_context(tls_files_->certificate, tls_files_->key));
  asio::post(strand_, [self = shared_from_this(), fresh = std::move(fresh)]() mutable {
    self->tls_ = std::move(fresh);
  });
  return {};
}

void Listener::close() {
  asio::post(strand_, [self = shared_from_this()] {
    self->stop();
    self->end_sessions();
  });
}

asio::awaitable<void> Listener::drain(std::chrono::milliseconds grace) {
  co_await asio::co_spawn(strand_, drain_all(shared_from_this(), grace), asio::use_awaitable);
}

// Out of descriptors or memory, or a client that was faster away than we: never the end of accepting.
asio::awaitable<void> Listener::accept_all(std::shared_ptr<Listener> self) {
  std::string failure;
  while (self->acceptor_.is_open()) {
    try {
      if (!failure.empty()) co_await self->pause(std::exchange(failure, {}));
      if (const auto error = co_await self->accept_one()) failure = error.message();
    } catch (const std::exception& fault) {
      failure = fault.what();
    }
  }
}

asio::awaitable<boost::system::error_code> Listener::accept_one() {
  auto executor = asio::any_io_executor(asio::make_strand(io_));
  auto [error, socket] = co_await acceptor_.async_accept(executor, asio::as_tuple(asio::use_awaitable));
  if (!error) {
    admit(std::move(socket));
  } else if (acceptor_.is_open()) {
    ++shell_->counters.accept_failures;
    shell_->observer->rejected("accept_failed");
  }
  co_return error == asio::error::connection_aborted ? error_code() : error;
}

// Trying again at once would only burn time that open connections need.
asio::awaitable<void> Listener::pause(const std::string& why) {
  if (const auto now = std::chrono::steady_clock::now(); now >= complain_not_before_) {
    log(LogLevel::warning, "accept_paused", {{"why", why}});
    complain_not_before_ = now + kComplaintInterval;
  }
  changed_.expires_after(shell_->limits.accept_pause);
  co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Listener::admit(Socket socket) {
  error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return;
  const std::string address = address_group(endpoint.address());
  ++shell_->counters.connections_total;
  if (const char* reason = full(address)) return turn_away(std::move(socket), reason);
  // Answers leave at once; a client that vanished without a word is noticed by keep-alive probes.
  socket.set_option(Tcp::no_delay(true), error);
  socket.set_option(asio::socket_base::keep_alive(true), error);
  start(std::move(socket), address);
}

const char* Listener::full(const std::string& address) const {
  const Limits& limits = shell_->limits;
  if (sessions_.size() >= (tls_ ? limits.tls_connections_max : limits.connections_max))
    return "connection_limit";
  const auto found = per_address_.find(address);
  const std::size_t count = found == per_address_.end() ? 0 : found->second;
  return count >= limits.connections_per_address_max ? "address_limit" : nullptr;
}

// One try to say why, without waiting for anything.
void Listener::turn_away(Socket socket, const char* reason) {
  shell_->observer->rejected(reason);
  if (tls_) return;
  const Error error{
      ErrorCode::unavailable, "The server has too many open connections; try again.", {}, reason};
  const Response response = shell_->respond_error(error, 503, "/");
  ResponseHead head;
  head.status = response.status;
  head.content_type = response.content_type;
  head.content_length = response.body->size();
  head.keep_alive = false;
  head.unix_seconds = std::time(nullptr);
  const std::string bytes = format_head(head, {}) + *response.body;
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(bytes), ignored);
  socket.shutdown(Socket::shutdown_send, ignored);
}

void Listener::start(Socket socket, const std::string& address) {
  auto transport =
      tls_ ? make_tls_transport(std::move(socket), *tls_) : make_tcp_transport(std::move(socket));
  auto session = std::make_shared<Session>(std::move(transport), address, shell_);
  std::size_t& of_address = per_address_[address];
  sessions_.emplace(session.get(), session);
  ++of_address;
  ++shell_->counters.connections_open;
  try {
    asio::co_spawn(session->executor(), Session::serve(session),
                   asio::bind_executor(
                       strand_, [self = shared_from_this(), key = session.get(), address](
                                    std::exception_ptr failure) { self->leave(key, address, failure); }));
  } catch (...) {
    leave(session.get(), address, std::current_exception());
    throw;
  }
}

void Listener::leave(Session* session, const std::string& address, std::exception_ptr failure) {
  log_fault("connection_fault", failure);
  sessions_.erase(session);
  const auto count = per_address_.find(address);
  if (--count->second == 0) per_address_.erase(count);
  --shell_->counters.connections_open;
  if (sessions_.empty()) changed_.cancel();
}

void Listener::stop() {
  error_code ignored;
  acceptor_.close(ignored);
  changed_.cancel();
}

void Listener::end_sessions() {
  for (const auto& [key, session] : sessions_)
    asio::post(session->executor(), [session = session] { session->close(); });
}

asio::awaitable<void> Listener::drain_all(std::shared_ptr<Listener> self, std::chrono::milliseconds grace) {
  // The port is closed before the first client can see a connection end.
  self->stop();
  self->shell_->retiring = true;
  self->shell_->draining = true;
  for (const auto& [key, session] : self->sessions_)
    asio::post(session->executor(), [session = session] { session->drain(); });
  const auto until = std::chrono::steady_clock::now() + grace;
  while (!self->sessions_.empty() && std::chrono::steady_clock::now() < until) {
    self->changed_.expires_at(until);
    co_await self->changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  self->end_sessions();
  while (!self->sessions_.empty()) {
    self->changed_.expires_at(asio::steady_timer::time_point::max());
    co_await self->changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

}  // namespace diffused::http
