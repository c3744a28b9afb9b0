// One job as a coroutine sees it: submitted, then its events in turn.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>

#include "job/dispatcher.h"

namespace diffused::api {

// Destroying it cancels the job if it has not ended: kept as a local of the coroutine that answers, it goes
// when the client goes. Used by that coroutine only.
class JobRun {
 public:
  // Queues the request. Errors: as Dispatcher::submit.
  static Result<std::unique_ptr<JobRun>> submit(Dispatcher& dispatcher, GenerateRequest request,
                                                SubmitOptions options, boost::asio::any_io_executor executor);
  JobRun(const JobRun&) = delete;
  JobRun& operator=(const JobRun&) = delete;
  ~JobRun();

  const Ticket& ticket() const { return ticket_; }
  // Asks for an early end, of which next() will tell.
  void cancel() { ticket_.cancel(); }

  // From now on next() returns at least once in every `interval`.
  void keep_alive(std::chrono::milliseconds interval);

  // The next event; nothing when it was time for a sign of life. The last event is JobDone or JobFailed.
  // Throws operation_aborted when the exchange is cancelled.
  boost::asio::awaitable<std::optional<Event>> next();

 private:
  // Events come from the device thread, ticks from the timer: one channel keeps them in one order. It is
  // unbounded, because the number of a job's events is bounded by its request and a sink must never block.
  using Channel =
      boost::asio::experimental::concurrent_channel<void(boost::system::error_code, std::optional<Event>)>;

  explicit JobRun(boost::asio::any_io_executor executor);
  void tick();

  std::shared_ptr<Channel> channel_;
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds interval_{0};
  Ticket ticket_;
};

}  // namespace diffused::api
