// Accepts connections and keeps the list of them.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <map>
#include <memory>
#include <string>

#include "http/server_options.h"
#include "http/session.h"

namespace diffused::http {

// Private methods run on strand_, which owns everything but the Shell.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context& io, ServerOptions options, std::vector<Route> routes,
           ErrorResponder respond_error);

  // See Server.
  Result<void> listen();
  std::uint16_t port() const { return port_; }
  void retire() { shell_->retiring = true; }
  void stop_accepting();
  Result<void> reload_certificate();
  asio::awaitable<void> drain(std::chrono::milliseconds grace);
  void close();
  const Counters& counters() const { return shell_->counters; }

 private:
  using Socket = asio::ip::tcp::socket;
  using Strand = asio::strand<asio::io_context::executor_type>;

  static asio::awaitable<void> accept_all(std::shared_ptr<Listener> self);
  static asio::awaitable<void> drain_all(std::shared_ptr<Listener> self, std::chrono::milliseconds grace);
  // Admits the next client. The error of accepting, unless that client is gone already.
  asio::awaitable<boost::system::error_code> accept_one();
  asio::awaitable<void> pause(const std::string& why);
  void admit(Socket socket);
  // The word for the limit that refuses one more connection of this address, or null.
  const char* full(const std::string& address) const;
  void turn_away(Socket socket, const char* reason);
  void start(Socket socket, const std::string& address);
  void leave(Session* session, const std::string& address, std::exception_ptr failure);
  void stop();
  void end_sessions();

  asio::io_context& io_;
  std::string host_;
  std::uint16_t port_;
  std::optional<TlsFiles> tls_files_;
  std::shared_ptr<Shell> shell_;
  Strand strand_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer changed_;  // cancelled when the last session leaves, and to end a pause
  std::chrono::steady_clock::time_point complain_not_before_;
  std::unique_ptr<asio::ssl::context> tls_;
  std::map<Session*, std::shared_ptr<Session>> sessions_;
  std::map<std::string, std::size_t> per_address_;
};

}  // namespace diffused::http
