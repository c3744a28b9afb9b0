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

namespace diffused {

// Destroying it cancels the job if it has not ended: kept as a local of the coroutine that answers, it goes
// when the client goes. Used by that coroutine only.
class SubmittedJob {
 public:
  // Queues the request. `clock` is the one of options.deadline, at which next() tells of the end even while
  // the device is in the middle of a unit. Errors: as Dispatcher::submit.
  static Result<std::unique_ptr<SubmittedJob>> submit(Dispatcher& dispatcher, GenerateRequest request,
                                                      SubmitOptions options,
                                                      boost::asio::any_io_executor executor,
                                                      const Clock& clock);
  SubmittedJob(const SubmittedJob&) = delete;
  SubmittedJob& operator=(const SubmittedJob&) = delete;
  ~SubmittedJob();

  const Ticket& ticket() const { return ticket_; }
  // Ends it: next() tells so at once, though the device may go on to the end of its present unit.
  void cancel();

  // As Ticket::finish_early.
  void finish_early(std::size_t pictures) { ticket_.finish_early(pictures); }

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

  explicit SubmittedJob(boost::asio::any_io_executor executor);
  void tick();
  void end_at(SteadyTime::duration from_now);

  std::shared_ptr<Channel> channel_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer deadline_;
  std::chrono::milliseconds interval_{0};
  Ticket ticket_;
};

}  // namespace diffused
