// An Exchange without a network: holds the request and records the answer.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http/exchange.h"

namespace diffused::http {

class FakeExchange final : public Exchange {
 public:
  // One event; with an empty name, one comment or one piece of a body.
  struct Sent {
    std::string name;
    std::string data;
    bool comment = false;
    std::string id = {};
  };

  // `io` must outlive every thread that the handler makes work for.
  FakeExchange(asio::io_context& io, Request request) : io_(io), request_(std::move(request)) {}

  std::optional<Response> response;
  std::optional<std::vector<std::pair<std::string, std::string>>> stream_headers;
  std::vector<Sent> sent;
  // Called after each event and comment.
  std::function<void(const Sent&)> on_sent = [](const Sent&) {};
  // The stream's client is gone after so many events and comments.
  std::size_t sent_max = std::size_t(-1);

  const Request& request() const override { return request_; }
  std::string take_body() override { return std::move(request_.body); }
  asio::awaitable<void> send(Response answer) override {
    response = std::move(answer);
    co_return;
  }
  asio::awaitable<std::shared_ptr<EventStream>> begin(Response head) override {
    stream_headers = std::move(head.headers);
    co_return std::make_shared<Stream>(*this);
  }
  asio::any_io_executor executor() const override { return io_.get_executor(); }

  // Runs the handler to its end; `meanwhile` runs on the same thread once the handler waits for the first
  // time. A handler that was cancelled or lost its client ends without an answer; other exceptions pass
  // through.
  void run(const Handler& handler, const std::function<void()>& meanwhile = {}) {
    std::exception_ptr failure;
    asio::co_spawn(io_, handler(*this),
                   asio::bind_cancellation_slot(signal_.slot(), [&](std::exception_ptr e) { failure = e; }));
    if (meanwhile) asio::post(io_, meanwhile);
    io_.restart();
    io_.run();
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const boost::system::system_error& gone) {
      if (gone.code() != asio::error::operation_aborted && gone.code() != asio::error::broken_pipe) throw;
    }
  }
  // The client goes away.
  void cancel() { signal_.emit(asio::cancellation_type::terminal); }

 private:
  class Stream final : public EventStream {
   public:
    explicit Stream(FakeExchange& exchange) : exchange_(exchange) {}
    asio::awaitable<void> event(std::string_view name, std::string_view data, std::string_view id) override {
      return record({std::string(name), std::string(data), false, std::string(id)});
    }
    asio::awaitable<void> comment(std::string_view text) override {
      return record({{}, std::string(text), true});
    }
    asio::awaitable<void> bytes(std::string_view bytes) override {
      return record({{}, std::string(bytes), false});
    }

   private:
    asio::awaitable<void> record(Sent sent) {
      if (exchange_.sent.size() >= exchange_.sent_max)
        throw boost::system::system_error(make_error_code(asio::error::broken_pipe));
      exchange_.sent.push_back(std::move(sent));
      exchange_.on_sent(exchange_.sent.back());
      co_return;
    }
    FakeExchange& exchange_;
  };

  asio::io_context& io_;
  asio::cancellation_signal signal_;
  Request request_;
};

}  // namespace diffused::http
