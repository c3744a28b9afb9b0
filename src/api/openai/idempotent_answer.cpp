#include "api/openai/idempotent_answer.h"

#include <boost/json/parse.hpp>

#include "api/early_head_answer.h"
#include "api/endpoints.h"
#include "api/errors.h"
#include "api/openai/accept_job.h"
#include "api/openai/images_response.h"
#include "api/openai/job_object.h"
#include "api/reply.h"
#include "async/offload.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"
#include "base/json_text.h"

namespace diffused::api {
namespace {

using background::EventId;
using background::JobEventLog;
using background::kRowLook;
using jobstore::Job;
using jobstore::JobState;
using namespace std::chrono_literals;

// The job when it has ended. Errors: deadline, unavailable (draining: the job goes on after the next start,
// or elsewhere). `slow` tells the client of life; null: it wants nothing before the answer.
asio::awaitable<Result<Job>> wait_for_end(const Api& api, http::Exchange& exchange, std::string id,
                                          SteadyTime deadline, EarlyHeadAnswer* slow) {
  const std::shared_ptr<JobEventLog> feed = api.background->feed(id);
  const auto signal = std::make_shared<WakeSignal>(exchange.executor());
  feed->watch(signal);
  std::uint64_t changes = ~std::uint64_t{0};
  auto looked = api.clock.now();
  while (true) {
    if (changes != feed->row_changes() || api.clock.now() - looked >= kRowLook) {
      changes = feed->row_changes();
      looked = api.clock.now();
      auto job = co_await store_call<Job>(
          [&](auto reply) { api.background->store().find(id, {}, std::move(reply)); });
      if (!job || job->ended()) co_return job;
    }
    if (api.background->stopping()) {
      Error error{ErrorCode::unavailable, "the server is shutting down", {}, "draining"};
      error.retry_after = 5s;
      co_return tl::unexpected(std::move(error));
    }
    if (api.clock.now() >= deadline)
      co_return fail(ErrorCode::deadline, "the request took longer than it may; its job goes on");
    if (slow != nullptr) co_await slow->still_working();
    co_await signal->wait(std::min<std::chrono::milliseconds>(kRowLook, api.options.keep_alive));
  }
}

// The key stands for this job, and so for its failure: the same request would be told the same again.
http::Response failure_response(const Job& job) {
  http::Response response = error_response(background::failure_of(job));
  std::erase_if(response.headers, [](const auto& header) { return header.first == "x-should-retry"; });
  response.headers.emplace_back("x-should-retry", "false");
  return response;
}

// The first picture itself. Off the io threads.
http::Response raw_of(const Api& api, const Job& job) {
  const json::value outcome = json::parse(*job.outcome);
  const json::object& item = outcome.at("data").at(0).as_object();
  const auto blob = api.images.get(std::string(item.at("picture").as_string()));
  if (!blob) return error_response(blob.error());
  http::Response response;
  response.content_type = blob->content_type;
  response.body = blob->bytes;
  response.headers.emplace_back("x-diffused-seed", json_text(item.at("seed")));
  return response;
}

asio::awaitable<http::Response> answer_of(const Api& api, const http::Request& request, const Job& job,
                                          bool raw) {
  if (raw && job.state == JobState::succeeded)
    co_return co_await offload(api.workers, user_of(request), [&] { return raw_of(api, job); });
  if (job.state == JobState::cancelled)
    co_return error_response(Error{ErrorCode::cancelled, "the job was cancelled", {}, {}});
  if (job.state == JobState::failed) co_return failure_response(job);
  json::object object = co_await describe_job(api, request, job, Pictures::included);
  json::object& result = object.at("result").as_object();
  result["id"] = request.request_id;
  http::Response response;
  response.body = co_await body_of(api, request, object.at("result"));
  co_return response;
}

}  // namespace

bool is_keyed(const Api& api, const http::Request& request) {
  return api.background != nullptr && !request.header("idempotency-key").empty();
}

asio::awaitable<void> answer_once(const Api& api, http::Exchange& exchange, ImageJob job, bool raw) {
  const auto options = submit_options(api, exchange.request());
  if (!options) co_return co_await send_error(exchange, options.error());
  EarlyHeadAnswer slow(exchange, api.clock, api.options.early_head);
  const auto added = co_await keep_job(api, exchange.request(), std::move(job.request));
  if (!added) co_return co_await send_error(exchange, added.error());
  exchange.note_job(added->job.id);
  const auto ended =
      co_await wait_for_end(api, exchange, added->job.id, options->deadline, raw ? nullptr : &slow);
  http::Response response;
  if (ended) {
    response = co_await answer_of(api, exchange.request(), *ended, raw);
  } else {
    response = error_response(ended.error());
  }
  if (ended && ended->state == JobState::succeeded) response.headers.emplace_back(kModelHeader, ended->pool);
  if (added->replayed) response.headers.emplace_back("Idempotent-Replayed", "true");
  co_await slow.send(std::move(response));
}

}  // namespace diffused::api
