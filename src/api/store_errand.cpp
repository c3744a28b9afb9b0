// One job that is made elsewhere while somebody here waits: from its request to its last event.
#include <boost/json/parse.hpp>
#include <optional>
#include <utility>

#include "api/ask.h"
#include "api/background.h"
#include "api/errors.h"
#include "api/offload.h"
#include "api/openai/accept_job.h"
#include "api/openai/job_object.h"
#include "api/openai/job_spec.h"
#include "api/store_dispatcher.h"
#include "base/log.h"
#include "image/base64.h"

namespace diffused::api {

using jobstore::Job;
using jobstore::JobState;

namespace {

using namespace std::chrono_literals;

double seconds(const json::value& timings, const char* name) { return timings.at(name).to_number<double>(); }

// What the server that made the pictures says it took; the wait for it counts as the queue.
Timings timings_of(const json::value& outcome, double total) {
  const json::value& told = outcome.at("timings");
  Timings timings;
  timings.encode_seconds = seconds(told, "encode_seconds");
  timings.denoise_seconds = seconds(told, "denoise_seconds");
  timings.decode_seconds = seconds(told, "decode_seconds");
  timings.total_seconds = total;
  timings.queue_seconds =
      std::max(0.0, total - seconds(told, "total_seconds") + seconds(told, "queue_seconds"));
  return timings;
}

Error failure_of(const Job& job) {
  if (job.state == JobState::cancelled) return {ErrorCode::cancelled, "The request was cancelled.", {}, {}};
  if (!job.outcome)
    return {ErrorCode::internal, "the server ended at each attempt to make this", {}, "worker_lost"};
  return read_error(json::parse(*job.outcome).as_object());
}

// What an entry that tells of a step or a preview says; nothing when it was written by another version.
std::optional<Event> event_of(const JobFeed::Entry& entry) {
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
Result<std::vector<ImageReady>> fetch_pictures(const Api& api, const json::value& outcome) {
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
    const auto blob = api.images.get(std::string(item.at("picture").as_string()));
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
StoreDispatcher::UnderWay::~UnderWay() {
  const std::lock_guard lock(dispatcher.mutex_);
  dispatcher.errands_.erase(errand);
  dispatcher.ended_.notify_all();
}

asio::awaitable<void> StoreDispatcher::run(std::shared_ptr<Errand> errand) {
  const UnderWay under_way{*this, errand};
  Result<Timings> made = fail(ErrorCode::internal, "the job ended in a fault of the server");
  try {
    made = co_await make(*errand);
  } catch (const std::exception& error) {
    log(LogLevel::error, "errand_fault", {{"error", error.what()}});
  }
  api_.background->observer().answered(
      errand->request.model, made ? std::string_view() : word_of(made.error()),
      made ? made->queue_seconds : 0, made ? made->total_seconds - made->queue_seconds : 0);
  errand->sink(made ? Event(JobDone{*made}) : Event(JobFailed{std::move(made).error()}));
  try {
    if (!errand->id.empty()) co_await clear_away(errand->id);
  } catch (const std::exception& error) {
    log(LogLevel::error, "errand_fault", {{"error", error.what()}});
  }
}

Result<jobstore::NewJob> StoreDispatcher::write_down(const Errand& errand) const {
  ImageRequest request;
  request.generate = errand.request;
  request.codec = find_codec("png");  // which loses nothing: it is encoded here as it was asked for
  request.response_format = ResponseFormat::url;
  request.partial_images = errand.options.previews;
  TRY(JobSpec spec, keep_inputs(api_, errand.options.user, std::move(request)));
  spec.awaited = true;
  spec.watched = errand.wants_events();
  jobstore::NewJob job = row_of(spec);
  job.id = errand.name;
  job.owner = errand.options.user;
  job.priority = kAwaitedPriority;
  job.request_id = errand.options.request_id;
  job.trace = errand.options.trace;
  return job;
}

asio::awaitable<Result<Timings>> StoreDispatcher::make(Errand& errand) {
  auto written = co_await offload(api_.workers, errand.options.user, [&] { return write_down(errand); });
  if (!written) co_return tl::unexpected(written.error());
  errand.id = written->id;
  const std::string spec = written->spec;
  const auto added = co_await ask<jobstore::Enqueued>(
      [&](auto reply) { api_.background->store().enqueue(*std::move(written), std::move(reply)); });
  if (!added) {
    errand.id.clear();
    co_await drop_inputs(api_, spec);
    co_return tl::unexpected(added.error());
  }
  api_.background->job_added(errand.request.model);
  const auto ended = co_await follow(errand);
  if (!ended) co_return tl::unexpected(ended.error());
  co_return co_await deliver(errand, *ended);
}

Result<void> StoreDispatcher::may_go_on(const Errand& errand) const {
  if (errand.cancelled) return fail(ErrorCode::cancelled, "The request was cancelled.");
  if (stopping_)
    return fail(ErrorCode::cancelled, "The server shut down before the request was done.", {}, "shutdown");
  if (api_.clock.now() >= errand.options.deadline)
    return fail(ErrorCode::deadline, "The time given for the request ran out.");
  return {};
}

// The job when it has ended. Errors: those of may_go_on, and unavailable when nobody is there any more who
// could make it. While the store is away it is waited for.
asio::awaitable<Result<Job>> StoreDispatcher::follow(Errand& errand) {
  const std::string& id = errand.id;
  const std::shared_ptr<JobFeed> feed = api_.background->feed(id);
  feed->watch(errand.bell);
  EventId last;
  std::uint64_t changes = 0;
  SteadyTime looked = api_.clock.now();
  std::size_t finish_told = 0;
  while (true) {
    co_await hand_on(errand, *feed, last);
    const std::size_t finish = errand.finish_below;
    if (finish > std::exchange(finish_told, finish)) looked = SteadyTime::min();
    if (auto may = may_go_on(errand); !may) co_return tl::unexpected(may.error());
    if (changes != feed->row_changes() || looked == SteadyTime::min() ||
        api_.clock.now() - looked >= kRowLook) {
      changes = feed->row_changes();
      looked = api_.clock.now();
      const auto job =
          co_await ask<Job>([&](auto reply) { api_.background->store().find(id, {}, std::move(reply)); });
      if (!job && job.error().code == ErrorCode::not_found)
        co_return fail(ErrorCode::cancelled, "The request was cancelled.");
      if (job && job->ended()) {
        co_await hand_on(errand, *feed, last);
        co_return job;
      }
      if (job && job->state == JobState::queued && !is_there(job->pool)) {
        Error away{ErrorCode::unavailable, "no server has the model any more", {}, "model_away"};
        away.retry_after = 5s;
        co_return tl::unexpected(std::move(away));
      }
      // A message may be lost, so it is said again; what nobody has begun has nothing to show.
      if (job && job->state == JobState::running && finish > 0) api_.background->finish_job(id, finish);
      if (job && job->state == JobState::queued && finish >= errand.request.n()) errand.cancelled = true;
      if (job && job->state == JobState::running && errand.wants_events())
        api_.background->ask_for_events(id, last);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        std::min<SteadyTime::duration>(errand.options.deadline - api_.clock.now(), kRowLook));
    co_await errand.bell->wait(std::max(left, 1ms));
  }
}

// The events after `last`, which becomes the last of them.
asio::awaitable<void> StoreDispatcher::hand_on(Errand& errand, const JobFeed& feed, EventId& last) {
  for (const JobFeed::Entry& entry : feed.after(last)) {
    last = entry.id;
    const bool step = entry.name == "image.job.step" && errand.options.step_events;
    const bool preview = entry.name == "image.job.preview" && errand.options.previews > 0;
    if (!step && !preview) continue;
    const auto event = co_await offload(api_.workers, errand.options.user, [&] { return event_of(entry); });
    if (event) errand.sink(*event);
  }
}

asio::awaitable<Result<Timings>> StoreDispatcher::deliver(Errand& errand, const Job& job) {
  if (job.state != JobState::succeeded) co_return tl::unexpected(failure_of(job));
  const json::value outcome = json::parse(*job.outcome);
  auto pictures =
      co_await offload(api_.workers, errand.options.user, [&] { return fetch_pictures(api_, outcome); });
  if (!pictures) co_return tl::unexpected(pictures.error());
  for (ImageReady& picture : *pictures) errand.sink(std::move(picture));
  const std::chrono::duration<double> total = api_.clock.now() - errand.submitted;
  co_return timings_of(outcome, total.count());
}

// Nobody waits any more: nothing of the job stays, whether it has ended or not. Where the store is away, it
// is forgotten after its lifetime.
asio::awaitable<void> StoreDispatcher::clear_away(const std::string& id) {
  jobstore::JobStore& store = api_.background->store();
  const auto remove = [&](auto reply) { store.remove(id, {}, std::move(reply)); };
  auto removed = co_await ask<Job>(remove);
  if (!removed && removed.error().code == ErrorCode::conflict) {
    const auto stopped = co_await ask<Job>([&](auto reply) { store.cancel(id, {}, std::move(reply)); });
    if (stopped) api_.background->stop_job(id);
    removed = co_await ask<Job>(remove);
  }
  if (!removed) co_return;
  co_await drop_inputs(api_, removed->spec);
  co_await drop_pictures(api_, *removed);
}

}  // namespace diffused::api
