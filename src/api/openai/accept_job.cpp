#include "api/openai/accept_job.h"

#include <algorithm>

#include "api/endpoints.h"
#include "api/errors.h"
#include "api/keys.h"
#include "api/memory.h"
#include "api/openai/job_object.h"
#include "api/reply.h"
#include "api/trace.h"
#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "base/json_text.h"
#include "http/header_parameters.h"
#include "parameters/job_record.h"

namespace diffused::api {
namespace {

constexpr std::size_t kKeyCharactersMax = 255;

bool prefers_async(const http::Request& request) {
  const std::string_view header = request.header("prefer");
  const std::string_view word = "respond-async";
  const std::size_t at = header.find(word);
  if (at == std::string_view::npos) return false;
  const auto ends = [&](std::size_t i) {
    return i >= header.size() || std::string_view(" ,;\t").find(header[i]) != std::string_view::npos;
  };
  return (at == 0 || ends(at - 1)) && ends(at + word.size());
}

Result<std::optional<std::string>> idempotency_key(const http::Request& request) {
  const std::string_view key = request.header("idempotency-key");
  if (key.empty()) return std::nullopt;
  const bool visible = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 127; });
  if (!visible || key.size() > kKeyCharactersMax)
    return fail(ErrorCode::invalid_argument, "Idempotency-Key must be 1 to 255 visible ASCII characters",
                "Idempotency-Key");
  return std::string(key);
}

Result<void> check_possible(const Api& api, const ImageRequest& request) {
  if (api.background == nullptr)
    return fail(ErrorCode::unsupported, "this server keeps no jobs", "background_job");
  if (request.stream)
    return fail(ErrorCode::invalid_argument, "a job is not streamed: its events are at GET …/events",
                "stream");
  return {};
}

// What there is to enqueue; the pictures it starts from are kept already. Off the io threads.
Result<jobstore::NewJob> write_down(const Api& api, const http::Request& http_request, ImageRequest request) {
  TRY(auto key, idempotency_key(http_request));
  TRY_VOID(api.background->check_room(request.generate.model));
  TRY_VOID(api.images.check_room());
  const auto resolved = api.dispatcher.resolve(request.generate);
  if (!resolved) return tl::unexpected(as_spelled(resolved.error(), request.spelling));
  // What the picture's text says in any case is settled now. All else stays as the client has it, so that
  // the text is that of a request that waits.
  request.generate.model = resolved->model;
  request.generate.width = resolved->width;
  request.generate.height = resolved->height;
  request.generate.num_inference_steps = resolved->num_inference_steps;
  request.generate.scheduler = resolved->scheduler;
  // What could never be made is not accepted.
  TRY_VOID(hold(http_request, 2 * result_bytes(request.generate, {}, /*as_text=*/false), "its pictures"));
  if (request.codec == nullptr) request.codec = find_codec("png");
  const std::string fingerprint = request.fingerprint;
  TRY(const JobSpec spec,
      background::keep_inputs(*api.background, user_of(http_request), std::move(request)));
  jobstore::NewJob job = background::row_of(spec);
  job.request_hash = fingerprint;
  job.idempotency_key = std::move(key);
  job.owner = user_of(http_request);
  job.priority = http_request.priority;
  job.request_id = http_request.request_id;
  job.trace = trace_of(http_request);
  return job;
}

}  // namespace

bool wants_background(const http::Request& http_request, const ImageRequest& request) {
  return request.background_job || (!request.stream && prefers_async(http_request));
}

asio::awaitable<Result<jobstore::Enqueued>> keep_job(const Api& api, const http::Request& http_request,
                                                     ImageRequest request) {
  const std::string model = request.generate.model;
  auto written = co_await offload(api.workers, user_of(http_request),
                                  [&] { return write_down(api, http_request, std::move(request)); });
  if (!written) {
    if (is_for_now(written.error())) api.background->observer().refused(model, word_of(written.error()));
    co_return tl::unexpected(written.error());
  }
  const std::string spec = written->spec;
  auto added = co_await store_call<jobstore::Enqueued>(
      [&](auto reply) { api.background->store().enqueue(*std::move(written), std::move(reply)); });
  if (!added || added->replayed) co_await background::drop_inputs(api.background->parts(), spec);
  if (!added && is_for_now(added.error())) api.background->observer().refused(model, word_of(added.error()));
  if (added && !added->replayed) api.background->job_added(model);
  co_return added;
}

asio::awaitable<void> accept_job(const Api& api, http::Exchange& exchange, ImageJob job) {
  if (auto possible = check_possible(api, job.request); !possible)
    co_return co_await send_error(exchange, std::move(possible).error());
  const auto added = co_await keep_job(api, exchange.request(), std::move(job.request));
  if (!added) co_return co_await send_error(exchange, added.error());
  exchange.note_job(added->job.id);
  http::Response response;
  response.status = added->replayed ? 200 : 202;
  const json::value object = co_await describe_job(api, exchange.request(), added->job, Pictures::included);
  response.body = co_await body_of(api, exchange.request(), object);
  response.headers.emplace_back("Location", "/v1/images/jobs/" + added->job.id);
  if (prefers_async(exchange.request())) response.headers.emplace_back("Preference-Applied", "respond-async");
  if (added->replayed) response.headers.emplace_back("Idempotent-Replayed", "true");
  co_await exchange.send(std::move(response));
}

}  // namespace diffused::api
