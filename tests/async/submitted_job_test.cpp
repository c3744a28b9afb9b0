// A job as a coroutine sees it, while the device is in the middle of something.
#include "async/submitted_job.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "support/fake_clock.h"
#include "support/fake_dispatcher.h"

namespace diffused {
namespace {

namespace asio = boost::asio;

class JobRuns : public testing::Test {
 protected:
  JobRuns() { dispatcher.hold = true; }

  std::unique_ptr<SubmittedJob> submit(SubmitOptions options = {}) {
    GenerateRequest request;
    request.model = "demo";
    request.seeds = {1};
    return SubmittedJob::submit(dispatcher, request, options, io.get_executor(), clock).value();
  }
  // The job's next event, which is to be its failure.
  Error failure_of(SubmittedJob& run) {
    Error error;
    asio::co_spawn(
        io,
        [](SubmittedJob& run, Error& error) -> asio::awaitable<void> {
          const auto event = co_await run.next();
          error = std::get<JobFailed>(*event).error;
        }(run, error),
        [](const std::exception_ptr& failure) {
          if (failure) std::rethrow_exception(failure);
        });
    io.restart();
    io.run();
    return error;
  }

  asio::io_context io;
  test::FakeClock clock;
  FakeDispatcher dispatcher;
};

TEST_F(JobRuns, EndAtTheirDeadlineThoughTheDeviceIsBusy) {
  SubmitOptions options;
  options.deadline = clock.now() + std::chrono::milliseconds(20);
  const auto run = submit(options);
  EXPECT_EQ(failure_of(*run).code, ErrorCode::deadline);
}

TEST_F(JobRuns, EndWhenTheyAreCancelledThoughTheDeviceIsBusy) {
  const auto run = submit();
  run->cancel();
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
  EXPECT_EQ(failure_of(*run).code, ErrorCode::cancelled);
}

TEST_F(JobRuns, CancelTheirJobWhenTheyGo) {
  submit();
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
  dispatcher.jobs[0].sink(JobDone{});  // nobody listens any more
}

}  // namespace
}  // namespace diffused
