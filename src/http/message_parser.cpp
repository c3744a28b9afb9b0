#include "http/message_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "base/pages.h"
#include "http/header_parameters.h"

namespace diffused::http {

namespace wire = boost::beast::http;

struct MessageParser::State {
  wire::request_parser<wire::empty_body> head;
  std::optional<wire::request_parser<wire::string_body>> message;
};

namespace {

Refusal to_refusal(const boost::system::error_code& error) {
  if (error == wire::error::header_limit)
    return {431, {ErrorCode::invalid_argument, "The request header is too large.", {}, "header_too_large"}};
  if (error == wire::error::body_limit)
    return {413, {ErrorCode::payload_too_large, "The request body is too large.", {}, "request_too_large"}};
  return {400, {ErrorCode::invalid_argument, "The request is not well-formed HTTP/1.1.", {}, "bad_request"}};
}

// Gives the parser all it can use. Zero bytes used means that it waits for more.
template <typename Parser>
Checked<std::size_t> put_all(Parser& parser, std::string_view bytes, const auto& stop) {
  std::size_t used = 0;
  while (used < bytes.size() && !stop()) {
    boost::system::error_code error;
    used += parser.put(boost::asio::buffer(bytes.substr(used)), error);
    if (error == wire::error::need_more) break;
    if (error) return tl::unexpected(to_refusal(error));
  }
  return used;
}

}  // namespace

MessageParser::MessageParser(const Limits& limits) : state_(std::make_unique<State>()) {
  state_->head.header_limit(static_cast<std::uint32_t>(limits.header_bytes_max));
  state_->head.body_limit(boost::none);  // known only once the route is
}

MessageParser::~MessageParser() { drop_text(take_body()); }

Checked<std::size_t> MessageParser::feed(std::string_view bytes) {
  if (auto& message = state_->message) return put_all(*message, bytes, [&] { return message->is_done(); });
  auto& head = state_->head;
  return put_all(head, bytes, [&] { return head.is_header_done(); });
}

bool MessageParser::head_done() const { return state_->head.is_header_done(); }

RequestHead MessageParser::take_head() {
  const auto& message = state_->head.get();
  RequestHead head;
  head.method = std::string_view(message.method_string());
  head.target = std::string_view(message.target());
  head.version = static_cast<int>(message.version());
  head.keep_alive = state_->head.keep_alive();
  for (const auto& field : message)
    head.headers.emplace_back(lower(std::string_view(field.name_string())), std::string_view(field.value()));
  return head;
}

void MessageParser::expect_body(std::size_t bytes_max) {
  state_->message.emplace(std::move(state_->head));
  state_->message->body_limit(bytes_max);
}

std::size_t MessageParser::body_bytes() const {
  return state_->message ? state_->message->get().body().size() : 0;
}

bool MessageParser::done() const {
  return state_->message ? state_->message->is_done() : state_->head.is_done();
}

std::string MessageParser::take_body() {
  return state_->message ? std::move(state_->message->get().body()) : std::string();
}

}  // namespace diffused::http
