// GET /v1/images/jobs/{id}/events: what happens to a job, as server-sent events.
#include "api/endpoints.h"
#include "api/openai/answer.h"
#include "api/openai/job_object.h"
#include "api/openai/job_owner.h"
#include "async/store_call.h"
#include "background/background.h"
#include "base/json_text.h"

namespace diffused::api {
namespace {

using background::EventId;
using background::JobEventLog;
using background::kRowLook;
using jobstore::Job;
using jobstore::JobState;

// The id of the event after which nothing comes.
constexpr std::string_view kLastId = "done";

// One client that watches one job.
class JobWatch {
 public:
  JobWatch(const Api& api, http::Exchange& exchange, std::string id)
      : api_(api),
        exchange_(exchange),
        id_(std::move(id)),
        feed_(api.background->feed(id_)),
        signal_(std::make_shared<WakeSignal>(exchange.executor())) {
    feed_->watch(signal_);
    if (const auto last = EventId::parse(exchange.request().header("last-event-id"))) last_ = *last;
  }

  asio::awaitable<void> run(http::EventStream& out) {
    auto quiet_since = api_.clock.now();
    while (true) {
      bool sent = co_await send_feed(out);
      // The row is looked at when the feed is silent, and the feed once more when the row says that it was
      // all.
      if (!sent) {
        const auto job = co_await find();
        if (!job) co_return co_await out.comment(job.error().message);
        if (job->ended()) {
          co_await send_feed(out);
          co_return co_await send_end(out, *job);
        }
        if (job->state == JobState::queued) {
          const bool moved = co_await send_position(out);
          sent = sent || moved;
        }
        if (job->state == JobState::running && !feed_->runs_here())
          api_.background->ask_for_events(id_, last_);
      }
      if (!api_.background->watchers_may_stay()) co_return co_await out.comment("draining");
      if (sent) quiet_since = api_.clock.now();
      if (api_.clock.now() - quiet_since >= api_.options.keep_alive) {
        co_await out.comment("working");
        quiet_since = api_.clock.now();
      }
      co_await signal_->wait(kRowLook);
    }
  }

 private:
  asio::awaitable<Result<Job>> find() {
    return store_call<Job>([this](auto reply) {
      api_.background->store().find(id_, job_owner(api_, exchange_.request()), std::move(reply));
    });
  }

  // Whether there was anything new.
  asio::awaitable<bool> send_feed(http::EventStream& out) {
    const std::vector<JobEventLog::Entry> entries = feed_->after(last_);
    for (const JobEventLog::Entry& entry : entries) {
      co_await out.event(entry.name, entry.data, entry.id.text());
      last_ = entry.id;
    }
    co_return !entries.empty();
  }

  asio::awaitable<bool> send_position(http::EventStream& out) {
    const auto position = co_await store_call<std::int64_t>(
        [this](auto reply) { api_.background->store().position(id_, std::move(reply)); });
    if (!position || *position == position_) co_return false;
    position_ = *position;
    const json::object payload{{"type", "image.job.queued"}, {"id", id_}, {"queue_position", position_}};
    co_await out.event("image.job.queued", json_text(payload));
    co_return true;
  }

  asio::awaitable<void> send_end(http::EventStream& out, const Job& job) {
    json::object members{{"type", "image.job.done"}};
    members["job"] = co_await describe_job(api_, exchange_.request(), job, Pictures::included);
    const json::value payload(std::move(members));
    const auto text = co_await body_of(api_, exchange_.request(), payload);
    co_await out.event("image.job.done", *text, kLastId);
  }

  const Api& api_;
  http::Exchange& exchange_;
  const std::string id_;
  const std::shared_ptr<JobEventLog> feed_;
  const std::shared_ptr<WakeSignal> signal_;
  EventId last_;
  std::int64_t position_ = -1;
};

}  // namespace

asio::awaitable<void> watch_job(const Api& api, http::Exchange& exchange) {
  const std::string id = exchange.request().parameters.at("id");
  const auto job = co_await store_call<Job>([&](auto reply) {
    api.background->store().find(id, job_owner(api, exchange.request()), std::move(reply));
  });
  if (!job) co_return co_await send_error(exchange, job.error());
  if (job->ended() && exchange.request().header("last-event-id") == kLastId) {
    // What tells an EventSource not to connect again.
    http::Response nothing;
    nothing.status = 204;
    nothing.content_type.clear();
    co_return co_await exchange.send(std::move(nothing));
  }
  JobWatch watch(api, exchange, id);
  std::vector<std::pair<std::string, std::string>> headers;
  const auto out = co_await exchange.stream(std::move(headers));
  co_await watch.run(*out);
}

}  // namespace diffused::api
