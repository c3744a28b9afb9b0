// START HERE for the room `http`: the shell round Boost.Beast. It knows connections, limits, framing, routes
// and streams; it knows no endpoint. An endpoint is a Handler that is given an Exchange.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/memory_budget.h"
#include "base/result.h"

namespace diffused::http {

namespace asio = boost::asio;

// A request that passed framing, routing and its route's body limit. Owned by the Exchange.
struct Request {
  std::string method;                                        // "GET"
  std::string path;                                          // percent-decoded, slashes collapsed, no query
  std::map<std::string, std::string> parameters;             // from the route's pattern: {id} → "3f…"
  std::map<std::string, std::string> query;                  // percent-decoded; the last of equal keys
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string peer;          // the client's address without port, or its network (http/address.h)
  std::string user;          // who asks, as the route's gate found out; empty when none did
  int priority = 0;          // how urgent that one's work is, as the gate found out: higher goes first
  bool is_operator = false;  // whether that one looks after the server, as the gate found out
  std::string request_id;  // the client's X-Request-Id when well-formed, else ours; echoed in every response
  bool tls = false;
  // What the server holds in memory for it, its body first of all; null: nobody counts.
  std::shared_ptr<MemoryCharge> memory;

  // The value of the first header of that lower-case name, or an empty view.
  std::string_view header(std::string_view name) const;
  // Whose work it is: who asks, or the address where nobody is known.
  const std::string& owner() const { return user.empty() ? peer : user; }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // values with CR, LF or NUL are refused
  // Shared so that a stored picture is sent without a copy.
  std::shared_ptr<const std::string> body = std::make_shared<const std::string>();
  // A gate's answer is sent only after this time: whoever guesses is slowed.
  std::chrono::milliseconds held_back{0};
};

// A response whose body is written piece by piece, mostly as server-sent events. Backlog is bounded: a client
// that stops reading is cut off.
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Writes one event: "event: name", then "data: data" (one line of JSON), then an empty line. Empty name: no
  // event line. `id`, unless empty, goes before them as "id: id": a client that connects again names the last
  // it saw as Last-Event-ID. Throws boost::system::system_error when the client is gone; the shell ends the
  // exchange.
  virtual asio::awaitable<void> event(std::string_view name, std::string_view data,
                                      std::string_view id = {}) = 0;
  // Writes a comment line ": text", ignored by clients; also used as a keep-alive.
  virtual asio::awaitable<void> comment(std::string_view text) = 0;
  // Writes the bytes as they are.
  virtual asio::awaitable<void> bytes(std::string_view bytes) = 0;
};

// One request and its answer. The handler answers exactly once, by send(), begin() or stream(); a handler
// that returns without answering is a fault and becomes a 500. While the handler runs the shell watches the
// connection: when the client goes away the handler's coroutine is cancelled (its next suspended operation
// throws operation_aborted), which destroys its locals: a Ticket held there cancels the job.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;
  // The request's body, moved out once by a handler that wants to keep it, or to be rid of it.
  virtual std::string take_body() = 0;
  virtual asio::awaitable<void> send(Response response) = 0;
  // Sends the head of a response whose body follows; it ends when the handler returns. `head.body` is not
  // used. An answer to HEAD is complete with it: then this throws, as for a client that is gone.
  virtual asio::awaitable<std::shared_ptr<EventStream>> begin(Response head) = 0;
  // The same for server-sent events: status 200, text/event-stream and the given headers.
  asio::awaitable<std::shared_ptr<EventStream>> stream(
      std::vector<std::pair<std::string, std::string>> headers);
  virtual asio::any_io_executor executor() const = 0;
  // The job that is made of the request, for those who follow it (Served).
  virtual void note_job(const std::string& /*id*/) {}
};

using Handler = std::function<asio::awaitable<void>(Exchange&)>;

// Decides on a request before its body is read, from the header alone (request.body is empty): the place for
// keys. A response refuses the request and is sent as it is; none lets it go on, with Request::user and
// priority as the gate set them. Must not block.
using Gate = std::function<std::optional<Response>(Request&)>;

// One line of the route table.
struct Route {
  std::string method;  // "GET", "POST", …; HEAD follows GET, OPTIONS is answered by the shell
  std::string
      pattern;  // "/v1/models/{id}"; a parameter matches one decoded segment, {id*} the rest of the path
  Handler handler;
  std::size_t body_bytes_max = 1 << 20;
  Gate gate = nullptr;                    // none: every request goes on
  std::vector<std::string> aliases = {};  // further patterns with the same parameters: "/models/{id}"
};

// How the shell itself answers what never reaches a handler (bad framing, no route, wrong method, too large,
// a handler's exception): the api room gives it the error dialect for the path.
using ErrorResponder = std::function<Response(const Error& error, int status, std::string_view path)>;

}  // namespace diffused::http
