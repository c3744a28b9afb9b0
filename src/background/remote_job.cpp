// One job that is made elsewhere while somebody here waits: from its request to its last event.
#include <boost/json/parse.hpp>
#include <optional>
#include <utility>

#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "background/remote_dispatcher.h"
#include "base/log.h"
#include "image/base64.h"
#include "parameters/error_record.h"
#include "parameters/job_record.h"

namespace diffused::background {

using jobstore::Job;
using jobstore::JobState;

namespace {

using namespace std::chrono_literals;

// What the server that made the pictures says it took; the wait for it counts as the queue.
Timings timings_of(const json::value& outcome, double total) {
  Timings timings = read_timings(outcome.at("timings"));
  timings.queue_seconds = std::max(0.0, total - timings.total_seconds + timings.queue_seconds);
  timings.total_seconds = total;
  return timings;
}

// What an entry that tells of a step or a preview says; nothing when it was written by another version.
std::optional<Event> event_of(const JobEventLog::Entry& entry) {
  try {
    const json::value payload = json::parse(entry.data);
    const auto index = payload.at("image_index").to_number<std::size_t>();
    const int step = payload.at("step").to_number<int>();
    if (entry.name == "image.job.step") return StepDone{index, step, payload.at("steps").to_number<int>()};
    const auto bytes = from_base64(payload.at("b64_json").as_string());
    auto image = decode_image(bytes.value(), DecodeLimits{});
    if (image) return PreviewReady{index, step, *std::move(image)};
  } catch (const std::exception&) {  // Boost.JSON's conversions throw
  }
  return std::nullopt;
}

// The pictures of a job that succeeded. Off the io threads.
Result<std::vector<ImageReady>> fetch_pictures(const storage::BlobStore& images, const json::value& outcome) {
  std::vector<ImageReady> pictures;
  for (const json::value& item : outcome.at("data").as_array()) {
    // It came in the row, as the store for pictures did not work.
    if (const json::value* const coded = item.as_object().if_contains("b64_json")) {
      const auto bytes = from_base64(coded->as_string());
      if (!bytes) return fail(ErrorCode::data_loss, "a picture was damaged before it was fetched");
      TRY(Image image, decode_image(*bytes, DecodeLimits{}));
      pictures.push_back({pictures.size(), item.at("seed").to_number<std::uint64_t>(), std::move(image)});
      continue;
    }
    const auto blob = images.get(std::string(item.at("picture").as_string()));
    if (!blob && blob.error().code == ErrorCode::unavailable) return tl::unexpected(blob.error());
    if (!blob) return fail(ErrorCode::data_loss, "a picture was lost before it was fetched");
    TRY(Image image, decode_image(*blob->bytes, DecodeLimits{}));
    // Of a job that was finished early some may not be there.
    const json::value* const index = item.as_object().if_contains("image_index");
    pictures.push_back({index != nullptr ? index->to_number<std::size_t>() : pictures.size(),
                        item.at("seed").to_number<std::uint64_t>(), std::move(image)});
  }
  return pictures;
}

}  // namespace

// Whatever ends it, drain() must not wait for it any longer.
RemoteDispatcher::UnderWay::~UnderWay() {
  const std::lock_guard lock(dispatcher.mutex_);
  dispatcher.remotes_.erase(remote);
  dispatcher.ended_.notify_all();
}

asio::awaitable<void> RemoteDispatcher::run(std::shared_ptr<RemoteJob> remote) {
  const UnderWay under_way{*this, remote};
  Result<Timings> made = fail(ErrorCode::internal, "the job ended in a fault of the server");
  try {
    made = co_await make(*remote);
  } catch (const std::exception& error) {
    log(LogLevel::error, "remote_job_fault", {{"error", error.what()}});
  }
  background_.observer().answered(remote->request.model, made ? std::string_view() : word_of(made.error()),
                                  made ? made->queue_seconds : 0,
                                  made ? made->total_seconds - made->queue_seconds : 0);
  remote->sink(made ? Event(JobDone{*made}) : Event(JobFailed{std::move(made).error()}));
  try {
    if (!remote->id.empty()) co_await clear_away(remote->id);
  } catch (const std::exception& error) {
    log(LogLevel::error, "remote_job_fault", {{"error", error.what()}});
  }
}

Result<jobstore::NewJob> RemoteDispatcher::write_down(const RemoteJob& remote) const {
  PictureRequest request;
  request.generate = remote.request;
  request.codec = find_codec("png");  // which loses nothing: it is encoded here as it was asked for
  request.response_format = ResponseFormat::url;
  request.partial_images = remote.options.previews;
  TRY(JobSpec spec, keep_inputs(background_, remote.options.user, std::move(request)));
  spec.awaited = true;
  spec.watched = remote.wants_events();
  jobstore::NewJob job = row_of(spec);
  job.id = remote.name;
  job.owner = remote.options.user;
  job.priority = kAwaitedPriority;
  job.request_id = remote.options.request_id;
  job.trace = remote.options.trace;
  return job;
}

asio::awaitable<Result<Timings>> RemoteDispatcher::make(RemoteJob& remote) {
  auto written = co_await offload(parts().workers, remote.options.user, [&] { return write_down(remote); });
  if (!written) co_return tl::unexpected(written.error());
  remote.id = written->id;
  const std::string spec = written->spec;
  const auto added = co_await store_call<jobstore::Enqueued>(
      [&](auto reply) { background_.store().enqueue(*std::move(written), std::move(reply)); });
  if (!added) {
    remote.id.clear();
    co_await drop_inputs(parts(), spec);
    co_return tl::unexpected(added.error());
  }
  background_.job_added(remote.request.model);
  const auto ended = co_await follow(remote);
  if (!ended) co_return tl::unexpected(ended.error());
  co_return co_await deliver(remote, *ended);
}

Result<void> RemoteDispatcher::may_go_on(const RemoteJob& remote) const {
  if (remote.cancelled) return fail(ErrorCode::cancelled, "The request was cancelled.");
  if (stopping_)
    return fail(ErrorCode::cancelled, "The server shut down before the request was done.", {}, "shutdown");
  if (parts().clock.now() >= remote.options.deadline)
    return fail(ErrorCode::deadline, "The time given for the request ran out.");
  return {};
}

// The job when it has ended. Errors: those of may_go_on, and unavailable when nobody is there any more who
// could make it. While the store is away it is waited for.
asio::awaitable<Result<Job>> RemoteDispatcher::follow(RemoteJob& remote) {
  const std::string& id = remote.id;
  const std::shared_ptr<JobEventLog> feed = background_.feed(id);
  feed->watch(remote.signal);
  EventId last;
  std::uint64_t changes = 0;
  SteadyTime looked = parts().clock.now();
  std::size_t finish_told = 0;
  while (true) {
    co_await hand_on(remote, *feed, last);
    const std::size_t finish = remote.finish_below;
    if (finish > std::exchange(finish_told, finish)) looked = SteadyTime::min();
    if (auto may = may_go_on(remote); !may) co_return tl::unexpected(may.error());
    if (changes != feed->row_changes() || looked == SteadyTime::min() ||
        parts().clock.now() - looked >= kRowLook) {
      changes = feed->row_changes();
      looked = parts().clock.now();
      const auto job =
          co_await store_call<Job>([&](auto reply) { background_.store().find(id, {}, std::move(reply)); });
      if (!job && job.error().code == ErrorCode::not_found)
        co_return fail(ErrorCode::cancelled, "The request was cancelled.");
      if (job && job->ended()) {
        co_await hand_on(remote, *feed, last);
        co_return job;
      }
      if (job && job->state == JobState::queued && !is_there(job->pool)) {
        Error away{ErrorCode::unavailable, "no server has the model any more", {}, "model_away"};
        away.retry_after = 5s;
        co_return tl::unexpected(std::move(away));
      }
      // A message may be lost, so it is said again; what nobody has begun has nothing to show.
      if (job && job->state == JobState::running && finish > 0) background_.finish_job(id, finish);
      if (job && job->state == JobState::queued && finish >= remote.request.n()) remote.cancelled = true;
      if (job && job->state == JobState::running && remote.wants_events())
        background_.ask_for_events(id, last);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        std::min<SteadyTime::duration>(remote.options.deadline - parts().clock.now(), kRowLook));
    co_await remote.signal->wait(std::max(left, 1ms));
  }
}

// The events after `last`, which becomes the last of them.
asio::awaitable<void> RemoteDispatcher::hand_on(RemoteJob& remote, const JobEventLog& feed, EventId& last) {
  for (const JobEventLog::Entry& entry : feed.after(last)) {
    last = entry.id;
    const bool step = entry.name == "image.job.step" && remote.options.step_events;
    const bool preview = entry.name == "image.job.preview" && remote.options.previews > 0;
    if (!step && !preview) continue;
    const auto event =
        co_await offload(parts().workers, remote.options.user, [&] { return event_of(entry); });
    if (event) remote.sink(*event);
  }
}

asio::awaitable<Result<Timings>> RemoteDispatcher::deliver(RemoteJob& remote, const Job& job) {
  if (job.state != JobState::succeeded) co_return tl::unexpected(failure_of(job));
  const json::value outcome = json::parse(*job.outcome);
  auto pictures = co_await offload(parts().workers, remote.options.user,
                                   [&] { return fetch_pictures(parts().pictures.images, outcome); });
  if (!pictures) co_return tl::unexpected(pictures.error());
  for (ImageReady& picture : *pictures) remote.sink(std::move(picture));
  const std::chrono::duration<double> total = parts().clock.now() - remote.submitted;
  co_return timings_of(outcome, total.count());
}

// Nobody waits any more: nothing of the job stays, whether it has ended or not. Where the store is away, it
// is forgotten after its lifetime.
asio::awaitable<void> RemoteDispatcher::clear_away(const std::string& id) {
  jobstore::JobStore& store = background_.store();
  const auto remove = [&](auto reply) { store.remove(id, {}, std::move(reply)); };
  auto removed = co_await store_call<Job>(remove);
  if (!removed && removed.error().code == ErrorCode::conflict) {
    const auto stopped =
        co_await store_call<Job>([&](auto reply) { store.cancel(id, {}, std::move(reply)); });
    if (stopped) background_.stop_job(id);
    removed = co_await store_call<Job>(remove);
  }
  if (!removed) co_return;
  co_await drop_inputs(parts(), removed->spec);
  co_await drop_pictures(parts(), *removed);
}

}  // namespace diffused::background
