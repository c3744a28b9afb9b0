#include "diffusers/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <string_view>

namespace diffused::diffusers {
namespace {

namespace json = boost::json;

constexpr std::size_t kHeaderBytesMax = 1 << 20, kBlobBytesMax = 1 << 30;
constexpr std::size_t kLengthBytes = 4, kBlobPartBytes = 1 << 22;
// How long this thread waits for an answer before it looks after others.
constexpr std::int64_t kSliceMs = 3;

tl::unexpected<Error> gone() { return fail(ErrorCode::unavailable, "the process has ended"); }

void put_length(std::uint8_t* to, std::size_t length) {
  for (std::size_t i = 0; i < kLengthBytes; ++i) to[i] = static_cast<std::uint8_t>(length >> (8 * i));
}

std::size_t get_length(const std::uint8_t* from) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<std::size_t>(from[i]) << (8 * i);
  return length;
}

Channel::Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

Result<void> Channel::send(const json::object& header, std::initializer_list<Bytes> blob, Patience patience) {
  const std::string text = json::serialize(header);
  std::size_t blob_bytes = 0;
  for (const Bytes part : blob) blob_bytes += part.size();
  std::array<std::uint8_t, 2 * kLengthBytes> lengths{};
  put_length(lengths.data(), text.size());
  put_length(lengths.data() + kLengthBytes, blob_bytes);
  TRY_VOID(write(lengths, patience));
  TRY_VOID(write(bytes_of(text), patience));
  for (const Bytes part : blob) TRY_VOID(write(part, patience));
  return {};
}

Result<Message> Channel::receive(Patience patience, WorkElsewhere* sender) {
  std::array<std::uint8_t, 2 * kLengthBytes> lengths{};
  TRY_VOID(read(lengths, patience, sender));
  const std::size_t header_bytes = get_length(lengths.data());
  const std::size_t blob_bytes = get_length(lengths.data() + kLengthBytes);
  if (header_bytes > kHeaderBytesMax || blob_bytes > kBlobBytesMax)
    return fail(ErrorCode::data_loss, "a message that is too large");
  std::vector<std::uint8_t> text(header_bytes);
  TRY_VOID(read(text, patience, sender));
  Message message;
  while (message.blob.size() < blob_bytes) {  // a length alone takes no memory
    const std::size_t done = message.blob.size();
    message.blob.resize(std::min(blob_bytes, done + kBlobPartBytes));
    TRY_VOID(read(std::span(message.blob).subspan(done), patience, sender));
  }
  boost::system::error_code error;
  json::value header = json::parse({reinterpret_cast<const char*>(text.data()), text.size()}, error);
  if (error || !header.is_object()) return fail(ErrorCode::data_loss, "a header that is not a JSON object");
  message.header = std::move(header.get_object());
  return message;
}

Result<void> Channel::wait(short events, Patience patience, WorkElsewhere* sender) const {
  pollfd watched{socket_, events, 0};
  const auto until = std::chrono::steady_clock::now() + patience;
  const std::int64_t wait_max_ms = sender != nullptr && has_host() ? kSliceMs : 1 << 30;
  for (;;) {
    const auto left = std::chrono::ceil<Patience>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(ErrorCode::deadline, "no answer");
    const int ready =
        ::poll(&watched, 1, static_cast<int>(std::min<std::int64_t>(left.count(), wait_max_ms)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return gone();
    if (ready == 0 && sender != nullptr) give_way(sender);
  }
}

Result<void> Channel::write(Bytes bytes, Patience patience) {
  while (!bytes.empty()) {
    const ssize_t done = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    } else if (errno == EAGAIN) {
      TRY_VOID(wait(POLLOUT, patience));
    } else if (errno != EINTR) {
      return gone();
    }
  }
  return {};
}

Result<void> Channel::read(std::span<std::uint8_t> bytes, Patience patience, WorkElsewhere* sender) {
  while (!bytes.empty()) {
    const ssize_t done = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (done > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    } else if (done == 0) {
      return gone();
    } else if (errno == EAGAIN) {
      TRY_VOID(wait(POLLIN, patience, sender));
    } else if (errno != EINTR) {
      return gone();
    }
  }
  return {};
}

}  // namespace diffused::diffusers
