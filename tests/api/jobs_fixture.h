// An Api with a job store, and a server's background part.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <condition_variable>
#include <deque>
#include <memory>
#include <thread>

#include "api/fixture.h"
#include "api/openai/images_response.h"
#include "background/background.h"
#include "jobstore/sqlite_job_store.h"
#include "support/files.h"

namespace diffused::api {

// Jobs on their way from the thread that submits them to the test's.
class Submitted {
 public:
  void push(FakeDispatcher::Job job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    more_.notify_one();
  }
  FakeDispatcher::Job pop() {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [this] { return !jobs_.empty(); });
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<FakeDispatcher::Job> jobs_;
};

// Remembers what it is told.
class Counted final : public background::Observer {
 public:
  void run_ended(std::string_view model, std::string_view outcome) override {
    note(std::string(model) + " " + std::string(outcome));
  }
  void waited(std::string_view, double seconds) override { waited_seconds = seconds; }
  void refused(std::string_view model, std::string_view reason) override {
    note(std::string(model) + " refused: " + std::string(reason));
  }
  void gave_up(std::string_view model) override { note(std::string(model) + " given up"); }
  // Waits until it has been told this.
  void until(const std::string& line) {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [&] { return std::ranges::count(lines_, line) > 0; });
  }
  std::atomic<double> waited_seconds = 0;

 private:
  void note(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    more_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<std::string> lines_;
};

// An Api with a job store in a folder, and a server's background part on a thread of its own.
class Jobs : public testing::Test, public ApiFixture {
 protected:
  Jobs() {
    dispatcher.on_submit = [this] { submitted_.push(dispatcher.jobs.back()); };
    open();
  }
  ~Jobs() override {
    crash();
    dispatcher.jobs.clear();  // their sinks lead to the io_contexts
  }

  void open() {
    background_io_ = ios_.emplace_back(std::make_unique<asio::io_context>()).get();
    store_ = *jobstore::open_sqlite_job_store(folder_.path() / "jobs.db", store_options_, clock);
    background::Options options;
    options.observer = counted_;
    options.jobs_queued_max = jobs_queued_max_;
    options.describe = images_object;
    background_ = std::make_unique<background::Background>(
        background::Parts{&dispatcher, *store_, inputs_, {images, clock}, workers, clock, nullptr, "0.0"},
        options, background_io_->get_executor());
    api.background = background_.get();
  }
  void start() {
    background_->start();
    thread_ = std::jthread([this] { background_io_->run(); });
  }
  // Everything that was not written down is gone.
  void crash() {
    background_io_->stop();
    if (thread_.joinable()) thread_.join();
    threads.emplace(2, 1);  // those there were may be at work for what goes now: waits for them
    background_.reset();
    store_.reset();
  }
  void restart() {
    crash();
    open();
    start();
  }

  http::Response post(const std::string& body,
                      std::vector<std::pair<std::string, std::string>> headers = {}) {
    http::Request request = ApiFixture::request("POST", "/v1/images/generations", body);
    for (auto& header : headers) request.headers.push_back(std::move(header));
    return ask(std::move(request));
  }
  std::string accepted(const std::string& fields = R"("prompt": "a kitten")") {
    const auto response = post("{\"background_job\": true, " + fields + "}");
    EXPECT_EQ(response.status, 202) << *response.body;
    return std::string(body_of(response).at("id").as_string());
  }
  // What the dispatcher was given for the next job.
  FakeDispatcher::Job next_submitted() { return submitted_.pop(); }
  json::object show(const std::string& id) {
    return body_of(ask("GET", "/v1/images/jobs/" + id)).as_object();
  }
  // The events up to the job's end.
  std::vector<http::FakeExchange::Sent> watch(const std::string& id, const std::string& last_id = {}) {
    http::Request request = ApiFixture::request("GET", "/v1/images/jobs/" + id + "/events");
    if (!last_id.empty()) request.headers.emplace_back("last-event-id", last_id);
    http::FakeExchange exchange(io, std::move(request));
    run(exchange);
    return exchange.sent;
  }
  json::object finished(const std::string& id) {
    EXPECT_EQ(watch(id).back().name, "image.job.done");
    return show(id);
  }

  TemporaryFolder folder_;
  jobstore::StoreOptions store_options_;
  std::int64_t jobs_queued_max_ = 100;
  const std::shared_ptr<Counted> counted_ = std::make_shared<Counted>();
  storage::MemoryStore inputs_{1 << 20, clock};
  std::unique_ptr<jobstore::JobStore> store_;
  std::vector<std::unique_ptr<asio::io_context>> ios_;  // one for each start
  Submitted submitted_;
  asio::io_context* background_io_ = nullptr;
  std::unique_ptr<background::Background> background_;
  std::jthread thread_;
};

}  // namespace diffused::api
