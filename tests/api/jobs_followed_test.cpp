// Jobs as whoever runs the servers follows them: how long they waited, who asked, what became of them.
#include <future>

#include "api/jobs_fixture.h"
#include "api/trace.h"

namespace diffused::api {
namespace {

TEST_F(Jobs, SayHowLongTheyWaitedSinceTheyWereAccepted) {
  const std::string id = accepted();
  clock.advance(9);
  start();
  const json::object done = finished(id);
  const json::object& timings = done.at("result").at("timings").as_object();
  EXPECT_NEAR(timings.at("queue_seconds").as_double(), 9.5, 0.01);  // half a second of them in the engine
  EXPECT_NEAR(timings.at("total_seconds").as_double(), 10.8, 0.01);
  counted_->until("demo completed");
  EXPECT_NEAR(counted_->waited_seconds, 9.5, 0.01);
}

TEST_F(Jobs, MakeTheBytesThatARequestThatWaitsMakes) {
  start();
  const std::string body = R"("prompt": "a kitten", "seed": 5, "response_format": "b64_json")";
  const auto waited = post("{" + body + "}");
  ASSERT_EQ(waited.status, 200);
  const json::object done = finished(accepted(body));
  EXPECT_EQ(done.at("result").at("data").at(0).at("b64_json"),
            body_of(waited).at("data").at(0).at("b64_json"));
}

TEST_F(Jobs, RememberTheRequestThatTheyCameWith) {
  const auto response = post(R"({"prompt": "a kitten", "background_job": true})",
                             {{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}});
  const std::string id(body_of(response).at("id").as_string());
  std::promise<Result<jobstore::Job>> found;
  store_->find(id, {}, [&](auto job) { found.set_value(std::move(job)); });
  const auto job = found.get_future().get();
  EXPECT_EQ(job->request_id, "req_1");
  EXPECT_EQ(job->trace, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  start();
  const FakeDispatcher::Job made = next_submitted();
  EXPECT_EQ(made.options.request_id, "req_1");
  EXPECT_EQ(made.options.trace, job->trace);
}

TEST_F(Jobs, HandOnNoTraceThatIsNone) {
  for (const char* text : {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "x", "",
                           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01"}) {
    http::Request request = ApiFixture::request("GET", "/");
    request.headers.emplace_back("traceparent", text);
    EXPECT_EQ(trace_of(request), "") << text;
  }
}

TEST_F(Jobs, AreCountedByWhatBecameOfThem) {
  dispatcher.hold = true;
  start();
  const std::string cancelled = accepted();
  const FakeDispatcher::Job run = next_submitted();
  EXPECT_EQ(ask("POST", "/v1/images/jobs/" + cancelled + "/cancel", "{}").status, 200);
  while (!*run.cancelled) std::this_thread::yield();
  run.sink(JobFailed{Error{ErrorCode::cancelled, "cancelled", {}, {}}});
  counted_->until("demo cancelled");

  const std::string taken = accepted();
  const FakeDispatcher::Job late = next_submitted();
  clock.advance(3600);  // the lease runs out, and somebody else sees it first
  std::promise<void> reaped;
  store_->reap([&](const auto&) { reaped.set_value(); });
  reaped.get_future().get();
  dispatcher.hold = false;
  dispatcher.run(late);
  counted_->until("demo fenced_off");
}

TEST_F(Jobs, AreCountedWhenTheyAreRefused) {
  crash();
  jobs_queued_max_ = 1;
  open();
  accepted();
  EXPECT_EQ(post(R"({"prompt": "a kitten", "background_job": true})").status, 429);
  counted_->until("demo refused: queue_full");
}

TEST_F(Jobs, OfAModelThatNobodyHasTakeOnlyAPartOfTheQueue) {
  crash();
  jobs_queued_max_ = 20;
  open();
  std::promise<void> announced;
  store_->announce("demo", "{}", "another server", [&](const auto&) { announced.set_value(); });
  announced.get_future().get();
  clock.advance(3600);
  dispatcher.served.front().here = false;
  start();
  while (!background_->figures().servers.contains("demo")) std::this_thread::yield();
  for (int i = 0; i < 2; ++i) accepted();
  EXPECT_EQ(post(R"({"prompt": "a kitten", "background_job": true})").status, 429);
}

TEST_F(Jobs, EndWhenTheyHaveWaitedForTooLong) {
  crash();
  store_options_.queued_lifetime = std::chrono::seconds(60);
  open();
  dispatcher.served.front().here = false;  // nobody here makes it
  const std::string id = accepted();
  clock.advance(61);
  start();
  const json::object done = finished(id);
  EXPECT_EQ(done.at("status"), "failed");
  EXPECT_EQ(done.at("error").at("code"), "queued_too_long");
  counted_->until("demo given up");
}

}  // namespace
}  // namespace diffused::api
