#include "app/service_manager.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace diffused::app {
namespace {

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::int64_t number(const std::string& text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

ServiceManager::ServiceManager(const Strand& strand) : timer_(strand) {
  const std::string address = variable("NOTIFY_SOCKET");
  // A path, or @ and a name that no file has.
  if ((!address.starts_with('/') && !address.starts_with('@')) || address.size() < 2 ||
      address.size() > sizeof(sockaddr_un::sun_path))
    return;
  socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) return;
  address_ = address;
  const std::string watched = variable("WATCHDOG_PID");
  const std::int64_t patience = number(variable("WATCHDOG_USEC"));
  if (patience > 1 && (watched.empty() || number(watched) == ::getpid()))
    watch_interval_ = std::chrono::microseconds(patience / 2);
}

ServiceManager::~ServiceManager() {
  if (socket_ >= 0) ::close(socket_);
}

void ServiceManager::reloading() const {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                   std::chrono::duration_cast<std::chrono::microseconds>(now).count()));
}

void ServiceManager::watch(std::function<bool()> moves) {
  if (!watch_interval_) return;
  if (moves()) tell("WATCHDOG=1");
  timer_.expires_after(*watch_interval_);
  timer_.async_wait([this, moves = std::move(moves)](boost::system::error_code error) {
    if (!error) watch(moves);
  });
}

void ServiceManager::tell(std::string_view message) const {
  if (address_.empty()) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  ::sendto(socket_, message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to),
           size);
}

}  // namespace diffused::app
