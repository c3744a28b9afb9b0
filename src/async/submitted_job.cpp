#include "async/submitted_job.h"

#include <boost/asio/error.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <limits>

namespace diffused {

namespace asio = boost::asio;
using boost::system::error_code;

SubmittedJob::SubmittedJob(asio::any_io_executor executor)
    : channel_(std::make_shared<Channel>(executor, std::numeric_limits<std::size_t>::max())),
      timer_(executor),
      deadline_(executor) {}

SubmittedJob::~SubmittedJob() { channel_->close(); }

Result<std::unique_ptr<SubmittedJob>> SubmittedJob::submit(Dispatcher& dispatcher, GenerateRequest request,
                                                           SubmitOptions options,
                                                           asio::any_io_executor executor,
                                                           const Clock& clock) {
  std::unique_ptr<SubmittedJob> run(new SubmittedJob(std::move(executor)));
  const SteadyTime deadline = options.deadline;
  // The sink may outlive the run: the device thread learns of a cancel only between two units.
  EventSink sink = [channel = run->channel_](Event event) {
    channel->try_send(error_code(), std::optional<Event>(std::move(event)));
  };
  TRY(run->ticket_, dispatcher.submit(std::move(request), std::move(options), std::move(sink)));
  if (deadline != SteadyTime::max()) run->end_at(deadline - clock.now());
  return run;
}

void SubmittedJob::cancel() {
  ticket_.cancel();
  const Error error{ErrorCode::cancelled, "The request was cancelled.", {}, {}};
  channel_->try_send(error_code(), std::optional<Event>(JobFailed{error}));
}

// The device ends what is late by itself, between two units. Of two ends the first one counts: whoever has
// heard it asks for no more.
void SubmittedJob::end_at(SteadyTime::duration from_now) {
  deadline_.expires_after(from_now);
  deadline_.async_wait([channel = channel_](error_code error) {
    if (error || !channel->is_open()) return;
    const Error late{ErrorCode::deadline, "The time given for the request ran out.", {}, {}};
    channel->try_send(error_code(), std::optional<Event>(JobFailed{late}));
  });
}

void SubmittedJob::keep_alive(std::chrono::milliseconds interval) {
  interval_ = interval;
  tick();
}

void SubmittedJob::tick() {
  timer_.expires_after(interval_);
  // The timer is a member: destroying it, before the channel closes, is what keeps `this` valid in here.
  timer_.async_wait([this, channel = channel_](error_code error) {
    if (error || !channel->is_open()) return;
    channel->try_send(error_code(), std::nullopt);
    tick();
  });
}

asio::awaitable<std::optional<Event>> SubmittedJob::next() {
  auto [error, event] = co_await channel_->async_receive(asio::experimental::as_tuple(asio::use_awaitable));
  // A channel has its own word for a cancelled wait; the shell knows the common one.
  if (error) throw boost::system::system_error(asio::error::operation_aborted);
  co_return std::move(event);
}

}  // namespace diffused
