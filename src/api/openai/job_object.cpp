#include "api/openai/job_object.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/errors.h"
#include "api/memory.h"
#include "api/openai/images_response.h"
#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "image/base64.h"
#include "parameters/job_record.h"

namespace diffused::api {
namespace {

using jobstore::Job;
using jobstore::JobState;

std::string_view status_word(JobState state) {
  switch (state) {
    case JobState::queued:
      return "queued";
    case JobState::running:
      return "in_progress";
    case JobState::succeeded:
      return "completed";
    case JobState::failed:
      return "failed";
    case JobState::cancelled:
      return "cancelled";
  }
  return {};
}

json::value time_or_null(const std::optional<std::int64_t>& time) {
  return time ? json::value(*time) : json::value(nullptr);
}

// Somebody has edited the row, or it is of another version.
json::value unreadable_row() {
  const Error error{ErrorCode::data_loss, "the job's row cannot be read", {}, {}};
  return error_object(error, status_of(error));
}

json::value error_of(const Job& job) {
  if (job.state != JobState::failed) return nullptr;
  const Error error = background::failure_of(job);
  return error_object(error, status_of(error));
}

// The stored outcome with each picture's id turned into what the client asked for. Off the io threads.
json::value result_of(const Api& api, const http::Request& request, const Job& job, const JobSpec& spec,
                      Pictures pictures) {
  if (job.state != JobState::succeeded) return nullptr;
  json::value result = json::parse(*job.outcome);
  const bool wanted =
      pictures == Pictures::included && spec.request.response_format == ResponseFormat::b64_json;
  const bool room = wanted && hold(request, result_bytes(spec.request, {}), "its pictures");
  for (json::value& value : result.at("data").as_array()) {
    json::object& item = value.as_object();
    const json::value* const picture = item.if_contains("picture");
    if (picture == nullptr) continue;  // of a request that waits: it is in the row
    const std::string id(picture->as_string());
    item.erase("picture");
    item.erase("image_index");
    const auto blob = room ? api.images.get(id) : fail(ErrorCode::unavailable, {});
    if (blob) {
      item["b64_json"] = to_base64(*blob->bytes);
    } else if (wanted) {
      item["b64_json"] = nullptr;  // it has made room for newer ones, or neither store nor memory has any now
    }
    if (!wanted || (!blob && blob.error().code == ErrorCode::unavailable)) {
      // A list does not look for each.
      const bool gone = pictures == Pictures::included && !api.images.has(id).value_or(true);
      item["url"] = gone ? json::value(nullptr)
                         : json::value(picture_url(api.options, request,
                                                   fmt::format("{}.{}", id, spec.request.codec->extension)));
    }
  }
  return result;
}

// What came of the job: its result, else what went wrong. One row that cannot be read says so, and others are
// shown all the same.
std::pair<json::value, json::value> outcome_of(const Api& api, const http::Request& request, const Job& job,
                                               const Result<JobSpec>& spec, Pictures pictures) {
  if (!spec && job.state == JobState::succeeded) return {nullptr, unreadable_row()};
  try {
    return {spec ? result_of(api, request, job, *spec, pictures) : json::value(nullptr), error_of(job)};
  } catch (const std::exception&) {  // Boost.JSON's conversions throw
  }
  return {nullptr, unreadable_row()};
}

json::object describe(const Api& api, const http::Request& request, const Job& job, Pictures pictures) {
  const auto read = read_spec(job.spec);
  const JobSpec spec = read ? *read : JobSpec{};
  const GenerateRequest& generate = spec.request.generate;
  auto [result, error] = outcome_of(api, request, job, read, pictures);
  const int progress = job.state == JobState::succeeded ? 100
                       : job.state == JobState::running
                           ? std::max(job.progress, api.background->progress(job.id))
                           : 0;
  return {{"id", job.id},
          {"object", "image.job"},
          {"model", job.pool},
          {"status", status_word(job.state)},
          {"progress", progress},
          {"queue_position", nullptr},
          {"attempts", job.attempt},
          {"created_at", job.created},
          {"started_at", time_or_null(job.started)},
          {"completed_at", time_or_null(job.finished)},
          {"expires_at", time_or_null(job.expires)},
          {"prompt", generate.prompt},
          {"n", generate.n()},
          {"size", fmt::format("{}x{}", generate.width.value_or(0), generate.height.value_or(0))},
          {"seeds", json::array(generate.seeds.begin(), generate.seeds.end())},
          {"result", std::move(result)},
          {"error", std::move(error)}};
}

}  // namespace

asio::awaitable<json::object> describe_job(const Api& api, const http::Request& request, const Job& job,
                                           Pictures pictures) {
  json::object object =
      co_await offload(api.workers, user_of(request), [&] { return describe(api, request, job, pictures); });
  if (job.state == JobState::queued) {
    const auto position = co_await store_call<std::int64_t>(
        [&](auto reply) { api.background->store().position(job.id, std::move(reply)); });
    if (position) object["queue_position"] = *position;
  }
  co_return object;
}

}  // namespace diffused::api
