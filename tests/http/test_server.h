// A server on a free port with two io threads, and the routes the tests need.
#pragma once

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "http/server.h"

namespace diffused::http {

// Something a test waits for until another thread has made it so.
class Signal {
 public:
  void raise() {
    const std::lock_guard lock(mutex_);
    raised_once_ = true;
    raised_.notify_all();
  }
  bool wait() { return wait_for(std::chrono::seconds(60)); }
  bool wait_for(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    return raised_.wait_for(lock, patience, [&] { return raised_once_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable raised_;
  bool raised_once_ = false;
};

// Raises a signal when a handler's locals are destroyed, as a ticket would cancel its job.
class Raiser {
 public:
  explicit Raiser(Signal& signal) : signal_(signal) {}
  ~Raiser() { signal_.raise(); }
  Raiser(const Raiser&) = delete;
  Raiser& operator=(const Raiser&) = delete;

 private:
  Signal& signal_;
};

// Whether `condition`, which another thread makes true, holds within a minute.
template <typename Condition>
bool becomes_true(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::yield();
  }
  return true;
}

// Remembers what it is told; count() waits for it.
class RecordingObserver final : public Observer {
 public:
  void served(const Served& served) override {
    const std::lock_guard lock(mutex_);
    served_.emplace_back(std::string(served.route) + " " + std::to_string(served.status));
    if (!served.job.empty())
      served_.emplace_back(std::string(served.request_id) + " from " + std::string(served.peer) + " made " +
                           std::string(served.job));
    changed_.notify_all();
  }
  void rejected(std::string_view reason) override {
    const std::lock_guard lock(mutex_);
    served_.emplace_back("rejected " + std::string(reason));
    changed_.notify_all();
  }
  // Whether `line` ("/wait 499", "rejected bad_request") has been seen, within some seconds.
  bool saw(const std::string& line) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      return std::find(served_.begin(), served_.end(), line) != served_.end();
    });
  }
  // The same, without waiting.
  bool seen(const std::string& line) {
    const std::lock_guard lock(mutex_);
    return std::find(served_.begin(), served_.end(), line) != served_.end();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> served_;
};

inline Response text_response(std::string text, int status = 200) {
  Response response;
  response.status = status;
  response.content_type = "text/plain";
  response.body = std::make_shared<const std::string>(std::move(text));
  return response;
}

inline asio::awaitable<void> answer_fine(Exchange& exchange) {
  co_await exchange.send(text_response("fine"));
}

// "413 request_too_large /upload"
inline Response plain_error(const Error& error, int status, std::string_view path) {
  return text_response(std::to_string(status) + " " + error.reason + " " + std::string(path), status);
}

// Waits for ever, or until it is cancelled.
inline asio::awaitable<void> wait_forever(asio::any_io_executor executor) {
  asio::steady_timer timer(executor, asio::steady_timer::time_point::max());
  co_await timer.async_wait(asio::use_awaitable);
}

// Holds handlers back until a test opens it.
class Latch {
 public:
  asio::awaitable<void> wait(asio::any_io_executor executor) {
    auto timer = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    {
      const std::lock_guard lock(mutex_);
      if (open_) co_return;
      waiting_.push_back(timer);
    }
    co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    for (const auto& waiting : waiting_)
      if (const auto timer = waiting.lock()) asio::post(timer->get_executor(), [timer] { timer->cancel(); });
  }

 private:
  std::mutex mutex_;
  bool open_ = false;
  // The handlers own their timers, which must not outlive the io_context.
  std::vector<std::weak_ptr<asio::steady_timer>> waiting_;
};

class TestServer {
 public:
  explicit TestServer(std::vector<Route> routes, ServerOptions options = {})
      : observer(std::make_shared<RecordingObserver>()) {
    options.observer = observer;
    if (options.policy.hosts == HostPolicy().hosts) options.policy.hosts = {"a"};
    server.emplace(io_, std::move(options), std::move(routes), plain_error);
    const auto listening = server->listen();
    CHECK_WITH(listening.has_value(), listening.error().message);
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { io_.run(); });
  }
  ~TestServer() {
    drain(std::chrono::milliseconds(0));
    work_.reset();
    for (auto& thread : threads_) thread.join();
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::uint16_t port() const { return server->port(); }
  void drain(std::chrono::milliseconds grace) {
    asio::co_spawn(io_, server->drain(grace), asio::use_future).get();
  }
  // Begins to drain and returns; the future is ready when no connection is open.
  std::future<void> start_drain(std::chrono::milliseconds grace) {
    return asio::co_spawn(io_, server->drain(grace), asio::use_future);
  }

  const std::shared_ptr<RecordingObserver> observer;

 private:
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::vector<std::thread> threads_;

 public:
  std::optional<Server> server;
};

}  // namespace diffused::http
