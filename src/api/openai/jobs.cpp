// GET /v1/images/jobs and what belongs to one job: its object, cancelling, deleting.
#include <charconv>

#include "api/endpoints.h"
#include "api/keys.h"
#include "api/openai/answer.h"
#include "api/openai/job_object.h"
#include "api/openai/job_owner.h"
#include "async/store_call.h"
#include "background/background.h"
#include "background/job_files.h"

namespace diffused::api {
namespace {

using jobstore::Job;

constexpr int kPageMax = 100;

// ?limit, ?order and ?after.
Result<jobstore::Page> page_of(const http::Request& request) {
  jobstore::Page page;
  page.owner = user_of(request);
  const auto value = [&](const char* name) -> std::string {
    const auto found = request.query.find(name);
    return found == request.query.end() ? "" : found->second;
  };
  if (const std::string limit = value("limit"); !limit.empty()) {
    const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), page.jobs_max);
    if (error != std::errc() || end != limit.data() + limit.size() || page.jobs_max < 1 ||
        page.jobs_max > kPageMax)
      return fail(ErrorCode::invalid_argument, "limit must be 1 to 100", "limit");
  }
  const std::string order = value("order");
  if (!order.empty() && order != "asc" && order != "desc")
    return fail(ErrorCode::invalid_argument, "order must be asc or desc", "order");
  page.newest_first = order != "asc";
  if (const std::string after = value("after"); !after.empty()) page.after = after;
  return page;
}

std::string id_of(const http::Request& request) { return request.parameters.at("id"); }

asio::awaitable<void> send_job(const Api& api, http::Exchange& exchange, Result<Job> job) {
  if (!job) co_return co_await send_error(exchange, job.error());
  const json::value body = co_await describe_job(api, exchange.request(), *job, Pictures::included);
  co_await send_large_json(api, exchange, body);
}

}  // namespace

asio::awaitable<void> list_jobs(const Api& api, http::Exchange& exchange) {
  auto page = page_of(exchange.request());
  if (!page) co_return co_await send_error(exchange, page.error());
  const auto wanted = static_cast<std::size_t>(page->jobs_max++);  // one more tells whether there are more
  auto jobs = co_await store_call<std::vector<Job>>(
      [&](auto reply) { api.background->store().list(*page, std::move(reply)); });
  if (!jobs) co_return co_await send_error(exchange, jobs.error());
  const bool more = jobs->size() > wanted;
  if (more) jobs->pop_back();
  json::array data;
  for (const Job& job : *jobs) {
    json::object object = co_await describe_job(api, exchange.request(), job, Pictures::linked);
    data.push_back(std::move(object));
  }
  const auto id = [&](bool first) {
    return jobs->empty() ? json::value(nullptr) : json::value(first ? jobs->front().id : jobs->back().id);
  };
  const json::object body{{"object", "list"},
                          {"data", std::move(data)},
                          {"first_id", id(true)},
                          {"last_id", id(false)},
                          {"has_more", more}};
  co_await send_json(exchange, body);
}

asio::awaitable<void> show_job(const Api& api, http::Exchange& exchange) {
  auto job = co_await store_call<Job>([&](auto reply) {
    api.background->store().find(id_of(exchange.request()), job_owner(api, exchange.request()),
                                 std::move(reply));
  });
  co_await send_job(api, exchange, std::move(job));
}

asio::awaitable<void> cancel_job(const Api& api, http::Exchange& exchange) {
  const std::string id = id_of(exchange.request());
  auto job = co_await store_call<Job>([&](auto reply) {
    api.background->store().cancel(id, job_owner(api, exchange.request()), std::move(reply));
  });
  if (job) {
    api.background->stop_job(id);
    co_await background::drop_inputs(api.background->parts(), job->spec);
  }
  co_await send_job(api, exchange, std::move(job));
}

asio::awaitable<void> delete_job(const Api& api, http::Exchange& exchange) {
  auto job = co_await store_call<Job>([&](auto reply) {
    api.background->store().remove(id_of(exchange.request()), job_owner(api, exchange.request()),
                                   std::move(reply));
  });
  if (!job) co_return co_await send_error(exchange, job.error());
  co_await background::drop_inputs(api.background->parts(), job->spec);
  co_await background::drop_pictures(api.background->parts(), *job);
  const json::object body{{"id", job->id}, {"object", "image.job.deleted"}, {"deleted", true}};
  co_await send_json(exchange, body);
}

}  // namespace diffused::api
