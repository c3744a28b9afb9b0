// A client that sends exactly the bytes it is told and reads what comes, with a limit on its patience.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace diffused::http {

class RawClient {
 public:
  RawClient() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  explicit RawClient(std::uint16_t port) : RawClient() { connect(port); }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connect(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  int descriptor() const { return fd_; }
  // A new socket, not yet connected.
  void reopen() {
    close();
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ended_ = false;
  }

  // False when the server has closed. Blocks while the server does not read.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Sends what the socket takes without waiting; returns how much that was.
  std::size_t send_some(std::string_view bytes) {
    const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }

  // Reads until received() contains `text`. False when the server closed or nothing more came in time.
  bool read_until(std::string_view text) {
    while (received_.find(text) == std::string::npos)
      if (!read_some(kPatience)) return false;
    return true;
  }

  // Reads one response's header block; what was read so far when there is none.
  std::string head() {
    if (!read_until("\r\n\r\n")) return std::exchange(received_, {});
    return take(received_.find("\r\n\r\n") + 4);
  }

  // Reads one response with Content-Length and takes it off received().
  std::string response() {
    std::string whole = head();
    const auto field = whole.find("content-length: ");
    const std::size_t length = field == std::string::npos ? 0 : std::stoul(whole.substr(field + 16));
    while (received_.size() < length)
      if (!read_some(kPatience)) break;
    return whole + take(length);
  }

  // Reads up to and with `text` and takes it off received().
  std::string take_until(std::string_view text) {
    if (!read_until(text)) return std::exchange(received_, {});
    return take(received_.find(text) + text.size());
  }

  // Whether anything came, or the server closed, within the time.
  bool read_within(std::chrono::milliseconds patience) { return read_some(patience) || ended_; }

  // Reads to the end of the connection or, if `patience` runs out first, to the present; returns all
  // received.
  std::string rest(std::chrono::milliseconds patience = kPatience) {
    while (read_some(patience)) continue;
    return std::exchange(received_, {});
  }

  // Whether the server closed the connection (after reading all it had sent).
  bool closed_by_server() {
    while (read_some(kPatience)) continue;
    return ended_;
  }

  const std::string& received() const { return received_; }

  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  // Closes with a reset instead of the usual goodbye.
  void reset() {
    const linger none{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{5000};

  std::string take(std::size_t bytes) {
    std::string taken = received_.substr(0, bytes);
    received_.erase(0, taken.size());
    return taken;
  }

  bool read_some(std::chrono::milliseconds patience) {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(patience.count())) != 1) return false;
    char bytes[64 << 10];
    const auto got = ::recv(fd_, bytes, sizeof bytes, 0);
    if (got <= 0) ended_ = true;
    if (got > 0) received_.append(bytes, static_cast<std::size_t>(got));
    return got > 0;
  }

  int fd_;
  bool ended_ = false;
  std::string received_;
};

// The number after "HTTP/1.1 "; 0 when there is none.
inline int status_of(std::string_view response) {
  return response.starts_with("HTTP/1.") && response.size() > 12 ? std::atoi(response.data() + 9) : 0;
}

}  // namespace diffused::http
