// Messages over a stream socket, as python/diffused_worker/protocol.py has them: two lengths (u32, little
// endian), a header in JSON, and raw bytes.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "base/give_way.h"
#include "base/result.h"

namespace diffused::diffusers {

struct Message {
  boost::json::object header;
  std::vector<std::uint8_t> blob;
};

// Does not own the descriptor. One thread at a time.
class Channel {
 public:
  explicit Channel(int socket) : socket_(socket) {}

  using Bytes = std::span<const std::uint8_t>;
  using Patience = std::chrono::milliseconds;

  // The parts of the blob go one after another. Errors, of both: unavailable (the other side is gone),
  // deadline (it neither reads nor writes for so long), data_loss (what comes is no message).
  Result<void> send(const boost::json::object& header, std::initializer_list<Bytes> blob, Patience patience);
  // While it waits, this thread gives way (base/give_way.h) for `sender`, which works on the answer.
  Result<Message> receive(Patience patience, WorkElsewhere* sender = nullptr);

 private:
  Result<void> write(Bytes bytes, Patience patience);
  Result<void> read(std::span<std::uint8_t> bytes, Patience patience, WorkElsewhere* sender);
  Result<void> wait(short events, Patience patience, WorkElsewhere* sender = nullptr) const;

  int socket_;
};

}  // namespace diffused::diffusers
