#include "async/offload.h"

#include <gmock/gmock.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <future>
#include <random>
#include <stdexcept>
#include <thread>

namespace diffused {
namespace {

namespace asio = boost::asio;

class OffloadTest : public testing::Test {
 protected:
  // Runs the coroutine until the io_context has nothing left to do.
  void run(asio::awaitable<void> coroutine) {
    asio::co_spawn(io_, std::move(coroutine), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    });
    io_.run();
  }

  asio::io_context io_;
  Workers pool_{2, 1};
};

TEST_F(OffloadTest, RunsOnThePoolAndResumesOnTheCallersExecutor) {
  run([](Workers& pool) -> asio::awaitable<void> {
    const auto caller = std::this_thread::get_id();
    const auto worker = co_await offload(pool, "anna", [] { return std::this_thread::get_id(); });
    EXPECT_NE(worker, caller);
    EXPECT_EQ(std::this_thread::get_id(), caller);
  }(pool_));
}

TEST_F(OffloadTest, KeepsQuickWorkApartFromSlow) {
  std::promise<void> go_on;
  pool_.post(Lane::slow, "berta", [&] { go_on.get_future().wait(); });
  run([](Workers& pool, std::promise<void>& go_on) -> asio::awaitable<void> {
    co_await offload(pool, "berta", [&] { go_on.set_value(); });
    const bool done = co_await offload_slow(pool, "berta", [] { return true; });
    EXPECT_TRUE(done);
  }(pool_, go_on));
}

TEST_F(OffloadTest, DoesWhatReadsLittleAtOnce) {
  run([](Workers& pool) -> asio::awaitable<void> {
    const auto where = [] { return std::this_thread::get_id(); };
    const auto here = co_await offload_large(kQuickBytes, pool, "anna", where);
    const auto there = co_await offload_large(kQuickBytes + 1, pool, "anna", where);
    EXPECT_EQ(here, std::this_thread::get_id());
    EXPECT_NE(there, std::this_thread::get_id());
  }(pool_));
}

TEST_F(OffloadTest, GivesWorkWithoutAResultTheSameWay) {
  bool done = false;
  run([](Workers& pool, bool& done) -> asio::awaitable<void> {
    co_await offload(pool, "anna", [&] { done = true; });
    EXPECT_TRUE(done);
  }(pool_, done));
  EXPECT_TRUE(done);
}

TEST_F(OffloadTest, ThrowsWhatTheWorkThrows) {
  run([](Workers& pool) -> asio::awaitable<void> {
    std::string what;
    try {
      co_await offload(pool, "anna", []() -> int { throw std::runtime_error("broken"); });
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    EXPECT_EQ(what, "broken");
  }(pool_));
}

TEST_F(OffloadTest, SkipsWorkOfACancelledCallerThatHasNotBegun) {
  std::promise<void> go_on;
  Workers one(1, 1);
  one.post(Lane::quick, "berta", [&] { go_on.get_future().wait(); });
  asio::cancellation_signal cancel;
  bool ran = false;
  std::exception_ptr failure;
  asio::co_spawn(
      io_,
      [](Workers& pool, bool& ran) -> asio::awaitable<void> {
        co_await offload(pool, "anna", [&] { ran = true; });
      }(one, ran),
      asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr ended) { failure = ended; }));
  asio::post(io_, [&] {
    cancel.emit(asio::cancellation_type::terminal);
    go_on.set_value();
  });
  io_.run();
  EXPECT_FALSE(ran);
  EXPECT_THROW(std::rethrow_exception(failure), boost::system::system_error);
}

TEST_F(OffloadTest, FinishesWorkThatHasBegunBeforeACancelledCallerGoesOn) {
  std::promise<void> begun, go_on;
  asio::cancellation_signal cancel;
  bool finished_first = false;
  asio::co_spawn(
      io_,
      [](Workers& pool, std::promise<void>& begun, std::promise<void>& go_on,
         bool& finished_first) -> asio::awaitable<void> {
        std::string local;
        co_await offload(pool, "anna", [&] {
          begun.set_value();
          go_on.get_future().wait();
          local = "written by the pool";
        });
        finished_first = !local.empty();
      }(pool_, begun, go_on, finished_first),
      asio::bind_cancellation_slot(cancel.slot(), asio::detached));
  asio::post(io_, [&] {
    begun.get_future().wait();
    cancel.emit(asio::cancellation_type::terminal);
    go_on.set_value();
  });
  io_.run();
  EXPECT_TRUE(finished_first);
}

// What killed the server: clients that leave while the pool begins, does and ends their work. Each strand is
// a connection of its own; the sanitizers see what goes wrong.
TEST_F(OffloadTest, SurvivesCancellationsAtEveryMoment) {
  constexpr int kConnections = 64;
  constexpr int kExchanges = 150;
  std::atomic<int> ended = 0;
  const auto connection = [&](int seed) -> asio::awaitable<void> {
    std::minstd_rand random(seed);
    const auto executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor);
    for (int i = 0; i < kExchanges; ++i) {
      asio::cancellation_signal cancel;
      asio::steady_timer over(executor, asio::steady_timer::time_point::max());
      bool is_over = false;
      asio::co_spawn(
          executor,
          [](Workers& pool) -> asio::awaitable<void> {
            std::string local(100, 'x');
            for (int part = 0; part < 3; ++part)
              co_await offload(pool, "anna", [&] { local.append(100, 'y'); });
          }(pool_),
          asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr) {
            ++ended;
            is_over = true;
            over.cancel();
          }));
      timer.expires_after(std::chrono::microseconds(random() % 60));
      co_await timer.async_wait(asio::use_awaitable);
      cancel.emit(asio::cancellation_type::terminal);
      if (!is_over) co_await over.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  };
  for (int i = 0; i < kConnections; ++i)
    asio::co_spawn(asio::make_strand(io_), connection(i + 1), asio::detached);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io_.run(); });
  threads.clear();
  EXPECT_EQ(ended, kConnections * kExchanges);
}

}  // namespace
}  // namespace diffused
