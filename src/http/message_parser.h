// One request off the wire, fed by hand: bytes in, header and body out. Does no I/O. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "http/framing.h"
#include "http/limits.h"
#include "http/refusal.h"

namespace diffused::http {

class MessageParser {
 public:
  explicit MessageParser(const Limits& limits);
  ~MessageParser();

  // Parses the front of `bytes` and returns how many it used up; the rest must be offered again, with more
  // behind it. Stops after the header, until expect_body(), and at the end of the message. Errors: 400, 413,
  // 431.
  Checked<std::size_t> feed(std::string_view bytes);

  bool head_done() const;
  // The header, moved out. Precondition: head_done().
  RequestHead take_head();

  // The body may have so many bytes, decoded. Precondition: head_done(), and check_framing() found a body.
  void expect_body(std::size_t bytes_max);
  // Decoded bytes so far.
  std::size_t body_bytes() const;
  bool done() const;
  // Precondition: done().
  std::string take_body();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace diffused::http
