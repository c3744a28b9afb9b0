#include "http/answer.h"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <ctime>
#include <stdexcept>

#include "base/pages.h"
#include "http/connection_stream.h"
#include "http/refusal.h"

namespace diffused::http {

Answer::Answer(std::shared_ptr<Connection> connection, Request request, AnswerForm form)
    : connection_(std::move(connection)), request_(std::move(request)), form_(std::move(form)) {}

Answer::~Answer() {
  drop_text(std::move(request_.body));
  if (stream_) stream_->detach();
}

// Checks, and fixes the answer: from here on there is no other.
std::string Answer::format(const Response& response, bool streamed) {
  if (status_ != 0) throw std::logic_error("a handler answered twice");
  if (!headers_valid(response.headers) || !headers_valid({{"content-type", response.content_type}}))
    throw std::invalid_argument("a response header holds bytes that no header may hold");
  const bool bodiless = response.status == 204 || response.status == 304;
  ResponseHead head;
  head.status = response.status;
  if (!bodiless) head.content_type = response.content_type;
  if (!bodiless && !streamed) head.content_length = response.body->size();
  head.chunked = streamed && form_.chunks;
  const bool ends_with_connection = streamed && !form_.chunks;
  if (ends_with_connection || (form_.retiring != nullptr && *form_.retiring)) form_.keep_alive = false;
  head.keep_alive = form_.keep_alive;
  head.request_id = request_.request_id;
  head.unix_seconds = std::time(nullptr);
  Headers extra = form_.extra;
  extra.insert(extra.end(), response.headers.begin(), response.headers.end());
  status_ = response.status;
  return format_head(head, extra);
}

asio::awaitable<void> Answer::send(Response response) {
  // It stays in memory until the client has read it.
  if (request_.memory && form_.respond_error != nullptr)
    if (const auto held = request_.memory->cover(response.body->size(), "the answer"); !held)
      response = (*form_.respond_error)(held.error(), memory_status(held.error()), request_.path);
  const bool sent = co_await write_response(response);
  if (!sent) throw boost::system::system_error(asio::error::operation_aborted);
}

asio::awaitable<void> Answer::send_own(Response response) { co_await write_response(response); }

asio::awaitable<bool> Answer::write_response(const Response& response) {
  const std::string head = format(response, false);
  const bool with_body = form_.with_body && response.status != 204 && response.status != 304;
  const asio::const_buffer buffers[] = {asio::buffer(head),
                                        with_body ? asio::buffer(*response.body) : asio::const_buffer()};
  co_return co_await connection_->write(buffers, connection_->limits().write_timeout);
}

asio::awaitable<std::shared_ptr<EventStream>> Answer::begin(Response response) {
  // Proxies must neither store nor hold back what comes piece by piece.
  response.headers.emplace_back("cache-control", "no-cache");
  response.headers.emplace_back("x-accel-buffering", "no");
  const std::string head = format(response, true);
  const asio::const_buffer buffers[] = {asio::buffer(head)};
  const bool sent = co_await connection_->write(buffers, connection_->limits().stream_write_timeout);
  if (!sent) throw boost::system::system_error(asio::error::operation_aborted);
  // What would be written is never sent: whoever writes it need not go on.
  if (!form_.with_body) {
    head_alone_ = true;
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  using Form = ConnectionStream::Form;
  const Form form = form_.chunks ? Form::chunked : Form::plain;
  stream_ = std::make_shared<ConnectionStream>(connection_, form, request_.memory);
  co_return stream_;
}

asio::awaitable<void> Answer::finish() {
  if (!stream_) co_return;
  co_await stream_->end();
}

}  // namespace diffused::http
