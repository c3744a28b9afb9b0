#include "engine/live_job.h"

#include <utility>

#include "base/check.h"

namespace diffused::engine {

Flow JobTicket::flow() const {
  const auto part = [](std::uint64_t value) { return value & 0xffff; };
  return {options.user,
          part(model) << 32 | part(request.width.value_or(0)) << 16 | part(request.height.value_or(0))};
}

LiveJob::~LiveJob() { CHECK_WITH(ended_, "job " + ticket.id + " was dropped without a reply"); }

void LiveJob::add_unit(UnitKind kind, SteadyTime start, double seconds) {
  if (!std::exchange(started_, true))
    timings_.queue_seconds = std::chrono::duration<double>(start - ticket.submitted).count();
  switch (kind) {
    case UnitKind::encode:
      timings_.encode_seconds += seconds;
      break;
    case UnitKind::step:
      timings_.denoise_seconds += seconds;
      break;
    case UnitKind::decode:
      timings_.decode_seconds += seconds;
      break;
    case UnitKind::done:
      CHECK(false);
  }
}

void LiveJob::send(Event event) {
  CHECK(!ended_);
  ticket.sink(std::move(event));
}

void LiveJob::send_picture(std::size_t image_index, Image image, int steps_skipped, SteadyTime now) {
  ++pictures_;
  timings_.total_seconds = std::chrono::duration<double>(now - ticket.submitted).count();
  send(ImageReady{image_index, ticket.request.seeds[image_index], std::move(image), steps_skipped});
}

void LiveJob::finish(EngineObserver& observer) {
  CHECK(complete());
  observer.job_finished(ticket.request.model, Outcome::succeeded, {}, timings_, pictures_);
  end(JobDone{timings_});
}

void LiveJob::fail(Error error, EngineObserver& observer) {
  const bool cancelled = error.code == ErrorCode::cancelled || error.code == ErrorCode::deadline;
  observer.job_finished(ticket.request.model, cancelled ? Outcome::cancelled : Outcome::failed,
                        reason_word(error), timings_, pictures_);
  end(JobFailed{std::move(error)});
}

void LiveJob::end(Event last) {
  send(std::move(last));
  ended_ = true;
}

bool preview_due(int before, int step, int steps, int previews) {
  if (previews <= 0 || step >= steps) return false;
  const auto parts_done = [&](int s) { return static_cast<std::int64_t>(s) * (previews + 1) / steps; };
  return parts_done(step) > parts_done(before);
}

std::string_view reason_word(const Error& error) {
  if (!error.reason.empty()) return error.reason;
  switch (error.code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::unauthorized:
      return "unauthorized";
    case ErrorCode::forbidden:
      return "forbidden";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::payload_too_large:
      return "payload_too_large";
    case ErrorCode::overloaded:
      return "overloaded";
    case ErrorCode::deadline:
      return "deadline";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::data_loss:
      return "data_loss";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

}  // namespace diffused::engine
