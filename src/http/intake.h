// One request on its way in: header, checks, route, body. Everything refused before a handler runs is refused
// here.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "http/answer.h"
#include "http/connection.h"
#include "http/message_parser.h"
#include "http/shell.h"
#include "http/target.h"

namespace diffused::http {

// On the connection's strand. Its arguments must outlive it.
class Intake {
 public:
  Intake(Connection& connection, Shell& shell, const std::string& peer);

  // Reads one request. A response: the shell's own answer, and no handler runs. None: route() serves it,
  // unless the connection is closed.
  asio::awaitable<std::optional<Response>> receive();

  // The rest is meant for after receive().
  const Route* route() const { return route_; }  // null: none was reached
  Request take_request() { return std::move(request_); }
  AnswerForm form() const;
  // Whether the end of the request is known and was reached: another one may follow.
  bool complete() const { return complete_; }

  // The answer for a refusal, counted and worded.
  Response refuse_with(const Refusal& refusal) const;

 private:
  asio::awaitable<Checked<void>> read_head();
  asio::awaitable<Checked<void>> read_body();
  // None: go on. The shell's own answers that are no errors (OPTIONS, a gate's) are responses too.
  Checked<std::optional<Response>> admit();
  Checked<void> check_request(Target& target);
  Checked<std::optional<Response>> find_route(const Target& target);
  Checked<void> check_body_size() const;
  Checked<void> check_wire_bytes(std::size_t wire_bytes);

  Connection& connection_;
  Shell& shell_;
  MessageParser parser_;
  RequestHead head_;
  Framing framing_;
  Headers cors_;
  Request request_;
  const Route* route_ = nullptr;
  bool complete_ = false;
};

}  // namespace diffused::http
