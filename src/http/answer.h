// The Exchange a handler is given, bound to a connection.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "http/connection.h"
#include "http/exchange.h"
#include "http/wire_format.h"

namespace diffused::http {

class ConnectionStream;

// How an answer is to be framed, known before the handler runs.
struct AnswerForm {
  bool keep_alive = true;
  bool with_body = true;                        // false for HEAD
  bool chunks = true;                           // false for HTTP/1.0
  Headers extra;                                // CORS
  const std::atomic<bool>* retiring = nullptr;  // set meanwhile: the answer ends the connection
  const ErrorResponder* respond_error = nullptr;
};

// On the connection's strand, as long as the handler runs.
class Answer final : public Exchange {
 public:
  Answer(std::shared_ptr<Connection> connection, Request request, AnswerForm form);
  ~Answer() override;

  const Request& request() const override { return request_; }
  std::string take_body() override { return std::move(request_.body); }
  // Throws std::logic_error on a second answer, std::invalid_argument for headers that cannot be sent, and
  // system_error when the client is gone.
  asio::awaitable<void> send(Response response) override;
  asio::awaitable<std::shared_ptr<EventStream>> begin(Response head) override;
  // The shell's own answer: send() without the exception for a client that is gone.
  asio::awaitable<void> send_own(Response response);
  asio::any_io_executor executor() const override { return connection_->executor(); }
  void note_job(const std::string& id) override { job_ = id; }

  const std::string& job() const { return job_; }
  // 0 until an answer began.
  int status() const { return status_; }
  bool keep_alive() const { return form_.keep_alive; }
  // An answer to HEAD whose body would have been written piece by piece: it is complete.
  bool is_head_alone() const { return head_alone_; }
  // After the handler: completes a stream. Closes the connection when something still writes to it.
  asio::awaitable<void> finish();

 private:
  std::string format(const Response& response, bool streamed);
  asio::awaitable<bool> write_response(const Response& response);

  std::shared_ptr<Connection> connection_;
  Request request_;
  AnswerForm form_;
  int status_ = 0;
  bool head_alone_ = false;
  std::string job_;
  std::shared_ptr<ConnectionStream> stream_;
};

}  // namespace diffused::http
