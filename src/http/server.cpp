#include "http/server.h"

#include "http/listener.h"

namespace diffused::http {

Server::Server(asio::io_context& io, ServerOptions options, std::vector<Route> routes,
               ErrorResponder respond_error)
    : listener_(
          std::make_shared<Listener>(io, std::move(options), std::move(routes), std::move(respond_error))) {}

Server::~Server() { close(); }

Result<void> Server::listen() { return listener_->listen(); }
std::uint16_t Server::port() const { return listener_->port(); }
void Server::retire() { listener_->retire(); }
Result<void> Server::reload_certificate() { return listener_->reload_certificate(); }
void Server::stop_accepting() { listener_->stop_accepting(); }
asio::awaitable<void> Server::drain(std::chrono::milliseconds grace) { return listener_->drain(grace); }
void Server::close() { listener_->close(); }
const Counters& Server::counters() const { return listener_->counters(); }

}  // namespace diffused::http
