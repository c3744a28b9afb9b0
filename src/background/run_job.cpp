// One claimed job: from its row to its outcome.
#include <fmt/format.h>

#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "base/ids.h"
#include "base/json_text.h"
#include "base/log.h"
#include "image/base64.h"
#include "parameters/error_record.h"
#include "parameters/request_fields.h"

namespace diffused::background {

using jobstore::Job;
using jobstore::Lease;

namespace {

using namespace std::chrono_literals;

// How often, and how many times, a store without room, or one that does not work, is tried again: five
// minutes in all.
constexpr auto kStoreRetry = 1s;
constexpr int kStoreRetries = 300;

// What the process could do to the job, so that it is not its fault: it goes back as if it had not been
// claimed.
bool is_ours(const Error& error) {
  return error.code == ErrorCode::overloaded || error.code == ErrorCode::cancelled ||
         (error.code == ErrorCode::unavailable && error.reason != "storage_full");
}

// What becomes of a run, as background::Observer is told.
constexpr std::string_view kCompleted = "completed", kFailed = "failed", kGivenBack = "given_back",
                           kCancelled = "cancelled", kFencedOff = "fenced_off";

// Another attempt may end otherwise.
bool may_pass(const Error& error) {
  return error.code == ErrorCode::internal || error.code == ErrorCode::out_of_memory ||
         error.reason == "request_too_costly";  // on a faster device
}

Result<PicturePointer> read_input(storage::BlobStore& inputs, const std::string& id) {
  const auto blob = inputs.get(id);
  if (!blob && blob.error().code == ErrorCode::unavailable) return tl::unexpected(blob.error());
  if (!blob)
    return fail(ErrorCode::data_loss, "a picture that the job starts from is gone", {}, "input_lost");
  TRY(Image image, decode_image(*blob->bytes, DecodeLimits{}));
  return std::make_shared<const Image>(std::move(image));
}

// Pictures of one kind. Those of a list may be of any size and number, and are charged as they are read.
template <typename Member>
Result<void> read_pictures(storage::BlobStore& inputs, const std::vector<std::string>& ids, Member& member,
                           MemoryCharge* memory) {
  for (const std::string& id : ids) {
    TRY(PicturePointer picture, read_input(inputs, id));
    if (memory && !std::is_same_v<Member, PicturePointer>)
      TRY_VOID(memory->add(bytes_of(picture), "its pictures"));
    add_picture(member, std::move(picture));
  }
  return {};
}

// All the pictures that the job is made from.
Result<void> read_inputs(storage::BlobStore& inputs, JobSpec& spec, MemoryCharge* memory) {
  Result<void> outcome;
  each_picture(spec.request.generate, [&](const PictureInfo& input, auto& member) {
    const auto ids = spec.pictures.find(input.name);
    if (!outcome || ids == spec.pictures.end()) return;
    outcome = read_pictures(inputs, ids->second, member, memory);
  });
  return outcome;
}

// What its pictures are charged to while a job runs; null: nobody counts.
Result<std::unique_ptr<MemoryCharge>> charge_for(const Parts& parts, const Job& job, const JobSpec& spec,
                                                 const PipelineInfo& model) {
  if (!parts.memory) return nullptr;
  // Those it starts from are no larger than those it makes.
  const std::uint64_t bytes = result_bytes(spec.request.generate, model, /*as_text=*/false) *
                              (spec.pictures.contains("init_image") ? 2 : 1);
  auto charge = std::make_unique<MemoryCharge>(parts.memory, job.owner);
  TRY_VOID(charge->add(bytes, "its pictures"));
  return charge;
}

SubmitOptions options_of(const Job& job, const PictureRequest& request) {
  SubmitOptions options;
  options.user = job.owner;
  options.request_id = job.request_id;
  options.trace = job.trace;
  options.previews = request.partial_images;
  options.step_events = true;
  return options;
}

json::object preview_payload(const PreviewReady& preview, const Picture& picture) {
  return {
      {"image_index", preview.image_index}, {"step", preview.step}, {"b64_json", to_base64(*picture.bytes)}};
}

// A job may be made here only by the model that it names.
Result<ServedModel> model_of(const std::vector<ServedModel>& models, const std::string& name) {
  const auto found = find_named(models, name);
  if (found != models.end()) return *found;
  return later(ErrorCode::unavailable, fmt::format("this server has no model \"{}\" any more", name),
               "model_away");
}

}  // namespace

asio::awaitable<void> Background::run(Job job) {
  const SteadyTime claimed = parts_.clock.now();
  const std::shared_ptr<JobEventLog> kept = feed(job.id);
  Result<std::string> outcome = fail(ErrorCode::internal, "the job ended in a fault of the server");
  try {
    outcome = co_await make(job, *kept);
  } catch (const std::exception& error) {
    log(LogLevel::error, "background_fault", {{"job", job.id}, {"error", error.what()}});
  }
  runs_[{job.id, job.lease}] = nullptr;
  const std::string_view became = co_await record(job, std::move(outcome));
  if (became == kCompleted || became == kFailed) co_await drop_inputs(parts_, job.spec);
  observer().run_ended(job.pool, became);
  json::object fields = fields_of(job);
  fields["outcome"] = became;
  fields["seconds"] = std::chrono::duration<double>(parts_.clock.now() - claimed).count();
  log(LogLevel::info, "job_ended", std::move(fields));
  runs_.erase({job.id, job.lease});
  kept->stop();
  kept->row_changed();
  if (watched_elsewhere_.erase(job.id) > 0) tell({{"do", "look"}, {"job", job.id}});
  work_signal_.notify();
  if (stopping_) renew_signal_.notify();
}

// The lease is another's, or nobody's.
asio::awaitable<std::string_view> Background::why_not_held(const std::string& id) {
  const auto job = co_await store_call<Job>([&](auto reply) { store_.find(id, {}, std::move(reply)); });
  const bool gone = !job && job.error().code == ErrorCode::not_found;
  co_return gone || (job && job->state == jobstore::JobState::cancelled) ? kCancelled : kFencedOff;
}

asio::awaitable<std::string_view> Background::record(const Job& job, Result<std::string> outcome) {
  const Lease lease{job.id, job.lease};
  const auto write = [&](jobstore::Reply<bool> reply) {
    if (outcome) return store_.succeed(lease, *outcome, std::move(reply));
    const Error& error = outcome.error();
    const std::string text = write_failure(error);
    if (is_ours(error)) return store_.give_back(lease, false, text, std::move(reply));
    if (may_pass(error)) return store_.give_back(lease, true, text, std::move(reply));
    store_.fail(lease, text, std::move(reply));
  };
  if (!outcome && is_ours(outcome.error()) && outcome.error().code != ErrorCode::cancelled)
    not_before_ = parts_.clock.now() + outcome.error().retry_after.value_or(1s);
  // While the store is away the outcome is kept here; at shutdown the next server makes it again.
  const bool goes_on = !outcome && (is_ours(outcome.error()) || may_pass(outcome.error()));
  while (true) {
    const auto held = co_await store_call<bool>(write);
    if (held && !*held) co_return co_await why_not_held(job.id);
    if (held) co_return goes_on ? kGivenBack : outcome ? kCompleted : kFailed;
    if (stopping_) co_return kFencedOff;  // another server makes it again once the lease has run out
    co_await pause(kStoreRetry);
  }
}

asio::awaitable<Result<void>> Background::keep_picture(std::string_view model, const std::string& id,
                                                       storage::Blob blob, int tries_max) {
  for (int tries = 1;; ++tries) {
    const auto kept =
        co_await offload(parts_.workers, kOwnWork, [&] { return parts_.pictures.store(model, id, blob); });
    if (tries_max > 1) pictures_full_ = !kept && kept.error().reason == "storage_full";
    const bool may_come = !kept && kept.error().code == ErrorCode::unavailable;
    if (!may_come || stopping_ || tries == tries_max) co_return kept;
    co_await pause(kStoreRetry);
  }
}

// The finished picture in the job's outcome: under its id; or, where it cannot be kept and somebody waits for
// it, itself. Whoever waits takes it from there, and then the row goes.
asio::awaitable<Result<json::object>> Background::item_of(const Job& job, const JobSpec& spec,
                                                          const Picture& picture) {
  const std::string id = random_id("img_");
  const std::int64_t expires = parts_.clock.lifetime_seconds() + options_.picture_lifetime.count();
  const storage::Blob blob{picture.bytes, std::string(spec.request.codec->media_type), expires};
  const bool awaited = spec.awaited.value_or(false);
  const auto kept = co_await keep_picture(job.pool, id, blob, awaited ? 1 : kStoreRetries);
  json::object item{{"seed", picture.seed}};
  if (kept) {
    item["picture"] = id;
  } else if (awaited && kept.error().code == ErrorCode::unavailable) {
    item["b64_json"] = to_base64(*picture.bytes);
  } else {
    co_return tl::unexpected(kept.error());
  }
  co_return item;
}

// What is written down of a job that succeeded. Of one that was finished early some pictures are not there.
std::string Background::outcome_of(const PictureRequest& request, std::vector<Picture> pictures,
                                   const json::array& items, const Timings& timings) const {
  std::erase_if(pictures, [](const Picture& picture) { return picture.width == 0; });
  json::object result = pictures.empty() || !options_.describe
                            ? json::object{{"timings", write_timings(timings)}}
                            : options_.describe(parts_.clock.unix_seconds(), request, pictures, timings);
  json::array& data = result["data"].emplace_array();
  for (const json::value& item : items)
    if (!item.is_null()) data.push_back(item);
  return json_text(result);
}

asio::awaitable<Result<std::string>> Background::make(const Job& job, JobEventLog& feed) {
  const SteadyTime accepted = parts_.clock.now() - job.age;
  auto spec = read_spec(job.spec);
  if (!spec) co_return tl::unexpected(spec.error());
  if (spec->awaited.value_or(false))
    watched_elsewhere_[job.id] =
        spec->watched.value_or(false) ? parts_.clock.now() + kToldAfterAsking : SteadyTime::min();
  PictureRequest& request = spec->request;
  GenerateRequest& generate = request.generate;
  const auto model = model_of(local_models(), job.pool);
  if (!model) co_return tl::unexpected(model.error());
  const auto memory = charge_for(parts_, job, *spec, model->info);
  if (!memory) co_return tl::unexpected(memory.error());
  const auto loaded = co_await offload_slow(parts_.workers, job.owner, [&]() -> Result<void> {
    return read_inputs(parts_.inputs, *spec, memory->get());
  });
  if (!loaded) co_return tl::unexpected(loaded.error());
  const Recipe recipe{generate, model->info, parts_.version};

  const std::chrono::duration<double> waited = parts_.clock.now() - accepted;
  auto submitted =
      SubmittedJob::submit(*parts_.local, generate, options_of(job, request), strand_, parts_.clock);
  if (!submitted) co_return tl::unexpected(submitted.error());
  SubmittedJob& run = **submitted;
  runs_[{job.id, job.lease}] = &run;
  last_batch_key_ = batch_key(generate);
  const int steps = generate.num_inference_steps.value_or(model->info.default_steps);
  feed.begin(job.attempt, steps * static_cast<int>(generate.n()));
  std::vector<Picture> pictures(generate.n());  // by image index, though they are finished in any order
  json::array items(generate.n());
  const auto encode = [&](const Image& image, std::uint64_t seed) {
    return offload(parts_.workers, job.owner,
                   [&, seed] { return parts_.pictures.encode(request, recipe, seed, image); });
  };
  while (true) {
    const std::optional<Event> event = co_await run.next();
    if (const auto* step = std::get_if<StepDone>(&*event)) {
      feed.step_done();
      json::object payload{{"image_index", step->image_index},
                           {"step", step->step},
                           {"steps", step->steps},
                           {"progress", feed.progress()}};
      add_event(job.id, feed, "image.job.step", std::move(payload));
    } else if (const auto* preview = std::get_if<PreviewReady>(&*event)) {
      const auto picture = co_await encode(preview->image, generate.seeds[preview->image_index]);
      if (picture) add_event(job.id, feed, "image.job.preview", preview_payload(*preview, *picture));
    } else if (const auto* ready = std::get_if<ImageReady>(&*event)) {
      auto picture = co_await encode(ready->image, ready->seed);
      if (!picture) co_return tl::unexpected(picture.error());
      auto item = co_await item_of(job, *spec, *picture);
      if (!item) co_return tl::unexpected(item.error());
      (*item)["image_index"] = ready->image_index;
      items[ready->image_index] = *std::move(item);
      picture->bytes.reset();
      pictures[ready->image_index] = *std::move(picture);
    } else if (const auto* failed = std::get_if<JobFailed>(&*event)) {
      co_return tl::unexpected(failed->error);
    } else if (const auto* done = std::get_if<JobDone>(&*event)) {
      Timings timings = done->timings;  // of this server; the client has waited since its request
      timings.queue_seconds += waited.count();
      timings.total_seconds += waited.count();
      observer().waited(job.pool, timings.queue_seconds);
      co_return outcome_of(request, std::move(pictures), items, timings);
    }
  }
}

}  // namespace diffused::background
