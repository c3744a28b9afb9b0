#include "http/intake.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"

namespace diffused::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kHeadReadBytes = 4 << 10;
constexpr std::size_t kBodyReadBytes = 64 << 10;
// Chunk lines and trailers may add a tenth to a body's limit, and this much.
constexpr std::size_t kFramingBytesMax = 64 << 10;

// What a read that brought nothing means. `gone` is no refusal: nobody is left to be answered.
Checked<void> check_read(Read read, const char* timeout_reason) {
  switch (read) {
    case Read::bytes:
    case Read::gone:
      return {};
    case Read::full:
      return refuse(400, ErrorCode::invalid_argument, "bad_request", "A line of the request is too long.");
    case Read::timed_out:
      return refuse(408, ErrorCode::deadline, timeout_reason, "The request did not arrive in time.");
  }
  return {};
}

// The time a body may have taken by the time `bytes` of it have come.
milliseconds body_allowance(const Limits& limits, std::size_t bytes) {
  return limits.body_timeout + milliseconds(bytes * 1000 / limits.body_bytes_per_second_min);
}

}  // namespace

Intake::Intake(Connection& connection, Shell& shell, const std::string& peer)
    : connection_(connection), shell_(shell), parser_(shell.limits) {
  request_.peer = peer;
  request_.tls = connection.secure();
  request_.path = "/";
}

asio::awaitable<std::optional<Response>> Intake::receive() {
  const Checked<void> head = co_await read_head();
  if (!head) co_return refuse_with(head.error());
  if (connection_.closed()) co_return std::nullopt;
  auto own = admit();
  if (!own) co_return refuse_with(own.error());
  if (*own || complete_) co_return std::move(*own);
  const Checked<void> body = co_await read_body();
  if (!body) co_return refuse_with(body.error());
  request_.body = parser_.take_body();
  co_return std::nullopt;
}

asio::awaitable<Checked<void>> Intake::read_head() {
  connection_.deadline().set(shell_.limits.header_timeout);
  request_.request_id = random_id("req_");
  while (!connection_.closed()) {
    const auto used = parser_.feed(connection_.input());
    if (!used) co_return tl::unexpected(used.error());
    connection_.consume(*used);
    if (parser_.head_done()) break;
    const Read read = co_await connection_.read(kHeadReadBytes);
    if (auto checked = check_read(read, "header_timeout"); !checked) co_return checked;
  }
  connection_.deadline().clear();
  co_return Checked<void>();
}

Checked<std::optional<Response>> Intake::admit() {
  head_ = parser_.take_head();
  request_.method = head_.method;
  request_.path = head_.target.substr(0, head_.target.find('?'));
  if (const auto id = find_header(head_.headers, "x-request-id"); request_id_valid(id))
    request_.request_id = id;

  Target target;
  if (auto checked = check_request(target); !checked) return tl::unexpected(checked.error());
  auto own = find_route(target);
  if (!own || *own) return own;
  if (auto checked = check_origin(shell_.policy, head_, request_.tls); !checked)
    return tl::unexpected(checked.error());
  request_.headers = std::move(head_.headers);
  if (route_->gate)
    if (auto refused = route_->gate(request_)) return refused;
  if (auto checked = check_body_size(); !checked) return tl::unexpected(checked.error());
  if (shell_.memory) request_.memory = std::make_shared<MemoryCharge>(shell_.memory, request_.owner());
  return std::nullopt;
}

Checked<void> Intake::check_request(Target& target) {
  const auto framing = check_framing(head_, shell_.limits);
  if (!framing) return tl::unexpected(framing.error());
  framing_ = *framing;
  complete_ = !framing_.has_body();
  cors_ = cors_headers(shell_.policy, head_, request_.tls);

  auto parsed = parse_target(head_.target);
  if (!parsed) return tl::unexpected(parsed.error());
  target = std::move(*parsed);
  request_.path = target.path;
  request_.query = std::move(target.query);
  const auto host = find_header(head_.headers, "host");
  if (!target.authority.empty() && target.authority != host)
    return refuse(400, ErrorCode::invalid_argument, "bad_host", "The request target names another host.");
  return check_host(shell_.policy, host);
}

Checked<std::optional<Response>> Intake::find_route(const Target& target) {
  auto found = shell_.router.find(head_.method, target.segments);
  if (found.allowed.empty())
    return refuse(404, ErrorCode::not_found, "not_found", "There is nothing at " + request_.path + ".");
  if (head_.method == "OPTIONS" && found.route == nullptr) {
    Response response;
    response.status = 204;
    response.headers = options_headers(shell_.policy, head_, request_.tls, found.allowed);
    return response;
  }
  if (found.route == nullptr) {
    Response response = refuse_with({405,
                                     {ErrorCode::invalid_argument,
                                      request_.path + " is not served with that method.",
                                      {},
                                      "method_not_allowed"}});
    response.headers.emplace_back("allow", join_methods(found.allowed));
    return response;
  }
  route_ = found.route;
  request_.parameters = std::move(found.parameters);
  return std::nullopt;
}

Checked<void> Intake::check_body_size() const {
  if (framing_.content_length <= route_->body_bytes_max) return {};
  return refuse(413, ErrorCode::payload_too_large, "request_too_large",
                fmt::format("The request body may have {} bytes here.", route_->body_bytes_max));
}

asio::awaitable<Checked<void>> Intake::read_body() {
  parser_.expect_body(route_->body_bytes_max);
  if (framing_.expects_continue && connection_.input().empty()) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const asio::const_buffer buffers[] = {asio::buffer(kContinue)};
    co_await connection_.write(buffers, shell_.limits.write_timeout);
  }
  const auto started = steady_clock::now();
  std::size_t wire_bytes = 0;
  while (!connection_.closed()) {
    const auto used = parser_.feed(connection_.input());
    if (!used) co_return tl::unexpected(used.error());
    connection_.consume(*used);
    wire_bytes += *used;
    if (auto checked = check_wire_bytes(wire_bytes); !checked) co_return checked;
    if (parser_.done()) break;
    const auto elapsed = std::chrono::duration_cast<milliseconds>(steady_clock::now() - started);
    connection_.deadline().set(std::min(body_allowance(shell_.limits, parser_.body_bytes()) - elapsed,
                                        shell_.limits.body_idle_timeout));
    const Read read = co_await connection_.read(kBodyReadBytes);
    if (auto checked = check_read(read, "body_timeout"); !checked) co_return checked;
  }
  connection_.deadline().clear();
  complete_ = parser_.done();
  co_return Checked<void>();
}

// Memory over all connections, and bytes that carry nothing.
Checked<void> Intake::check_wire_bytes(std::size_t wire_bytes) {
  if (request_.memory)
    if (auto held = request_.memory->cover(parser_.body_bytes(), "the body"); !held)
      return tl::unexpected(Refusal{memory_status(held.error()), std::move(held).error()});
  if (wire_bytes > route_->body_bytes_max + route_->body_bytes_max / 10 + kFramingBytesMax)
    return refuse(413, ErrorCode::payload_too_large, "request_too_large", "The request body is too large.");
  return {};
}

AnswerForm Intake::form() const {
  AnswerForm form;
  form.keep_alive = complete_ && head_.keep_alive;
  form.with_body = head_.method != "HEAD";
  form.chunks = head_.version == 11;
  form.extra = cors_;
  form.retiring = &shell_.retiring;
  form.respond_error = &shell_.respond_error;
  return form;
}

Response Intake::refuse_with(const Refusal& refusal) const {
  shell_.observer->rejected(refusal.error.reason);
  return shell_.respond_error(refusal.error, refusal.status, request_.path);
}

}  // namespace diffused::http
