// Jobs that outlive their requests: accepted, run, watched, cancelled, and found again after a crash.
#include <gmock/gmock.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <condition_variable>
#include <deque>
#include <thread>

#include "api/endpoints.h"
#include "api/fixture.h"
#include "api/jobs_fixture.h"
#include "background/background.h"
#include "image/base64.h"
#include "image/codec.h"
#include "jobstore/sqlite_job_store.h"
#include "parameters/job_record.h"
#include "support/files.h"

namespace diffused::api {
namespace {

using testing::ElementsAre;

TEST_F(Jobs, AreAnsweredAtOnceAndMadeLater) {
  const auto response = post(R"({"prompt": "a kitten", "n": 2, "seed": 5, "background_job": true})");
  ASSERT_EQ(response.status, 202) << *response.body;
  const json::object job = body_of(response).as_object();
  const std::string id(job.at("id").as_string());
  EXPECT_EQ(header_of(response, "Location"), "/v1/images/jobs/" + id);
  EXPECT_EQ(job.at("object"), "image.job");
  EXPECT_EQ(job.at("status"), "queued");
  EXPECT_EQ(job.at("queue_position"), 0);
  EXPECT_EQ(job.at("progress"), 0);
  EXPECT_EQ(job.at("seeds"), (json::array{5, 6}));
  EXPECT_TRUE(job.at("result").is_null());
  EXPECT_TRUE(dispatcher.jobs.empty());

  start();
  const json::object done = finished(id);
  EXPECT_EQ(done.at("status"), "completed");
  EXPECT_EQ(done.at("progress"), 100);
  EXPECT_TRUE(done.at("queue_position").is_null());
  EXPECT_TRUE(done.at("error").is_null());
  EXPECT_EQ(done.size(), job.size());
  const json::object& result = done.at("result").as_object();
  EXPECT_EQ(result.at("size"), "64x64");
  EXPECT_EQ(result.at("model"), "demo");
  ASSERT_EQ(result.at("data").as_array().size(), 2u);
  const json::object& item = result.at("data").at(1).as_object();
  EXPECT_EQ(item.at("seed"), 6);
  const std::string url(item.at("url").as_string());
  const auto picture = ask("GET", url.substr(url.find("/images/")));
  EXPECT_EQ(picture.status, 200);
  EXPECT_EQ(decode_image(*picture.body, {})->width, 64);
}

TEST_F(Jobs, AreAlsoAskedForByAHeaderAndBringBytesWhenTheseAreWanted) {
  start();
  const auto response =
      post(R"({"prompt": "a kitten", "response_format": "b64_json", "output_format": "webp"})",
           {{"prefer", "wait=5, respond-async"}});
  ASSERT_EQ(response.status, 202);
  EXPECT_EQ(header_of(response, "Preference-Applied"), "respond-async");
  const json::object done = finished(std::string(body_of(response).at("id").as_string()));
  const auto bytes = from_base64(done.at("result").at("data").at(0).at("b64_json").as_string());
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->substr(8, 4), "WEBP");
  EXPECT_EQ(post(R"({"prompt": "a kitten"})", {{"prefer", "respond-asynchronously"}}).status, 200);
}

TEST_F(Jobs, AreRefusedAtOnceWhenTheModelCouldNotMakeThem) {
  const auto response = post(R"({"prompt": "a kitten", "size": "60x64", "background_job": true})");
  EXPECT_EQ(response.status, 400) << *response.body;
  EXPECT_EQ(body_of(response).at("error").at("param"), "size");
  EXPECT_EQ(post(R"({"prompt": "a", "stream": true, "background_job": true})").status, 400);
  api.background = nullptr;
  EXPECT_EQ(post(R"({"prompt": "a", "background_job": true})").status, 400);
}

TEST_F(Jobs, GoInOrderOfTheirKeysPrioritiesAndCannotAskForAnother) {
  const std::string keys = key_line({"night", -5}, "sk-n").value() + "\n" +
                           key_line({"anna"}, "sk-a").value() + "\n" + key_line({"boss", 5}, "sk-b").value();
  api.options.keys = std::make_shared<Keys>(KeyRing::parse(keys).value());
  const auto position = [&](const std::string& key) {
    const auto response = post(R"({"prompt": "a kitten", "background_job": true, "priority": 100})",
                               {{"authorization", "Bearer " + key}});
    EXPECT_EQ(response.status, 202) << *response.body;
    return body_of(response).at("queue_position").as_int64();
  };
  EXPECT_EQ(position("sk-n"), 0);
  EXPECT_EQ(position("sk-a"), 0);
  EXPECT_EQ(position("sk-b"), 0);
  EXPECT_EQ(position("sk-n"), 3);
  EXPECT_EQ(position("sk-a"), 2);
  EXPECT_EQ(position("sk-b"), 1);
}

TEST_F(Jobs, AreTheSameUnderTheSameKey) {
  const std::string body = R"({"prompt": "a kitten", "background_job": true})";
  const auto first = post(body, {{"idempotency-key", "k1"}});
  ASSERT_EQ(first.status, 202);
  const auto again = post(body, {{"idempotency-key", "k1"}});
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(header_of(again, "Idempotent-Replayed"), "true");
  EXPECT_EQ(body_of(again).at("id"), body_of(first).at("id"));
  EXPECT_EQ(body_of(again).at("seeds"), body_of(first).at("seeds"));
  const auto other = post(R"({"prompt": "a dog", "background_job": true})", {{"idempotency-key", "k1"}});
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(body_of(other).at("error").at("code"), "idempotency_key_reused");
  EXPECT_EQ(header_of(other, "x-should-retry"), "false");
  EXPECT_EQ(post(body, {{"idempotency-key", "k2"}}).status, 202);
  EXPECT_EQ(post(body, {{"idempotency-key", "two words"}}).status, 400);
  EXPECT_EQ(post(body, {{"idempotency-key", std::string(256, 'x')}}).status, 400);
}

TEST_F(Jobs, AnswerARequestThatWaitsOnlyOnceUnderItsKey) {
  start();
  const std::string body = R"({"prompt": "a kitten", "response_format": "b64_json"})";
  const auto first = post(body, {{"idempotency-key", "k1"}});
  ASSERT_EQ(first.status, 200) << *first.body;
  EXPECT_EQ(header_of(first, "Idempotent-Replayed"), "");
  const auto again = post(body, {{"idempotency-key", "k1"}});
  ASSERT_EQ(again.status, 200) << *again.body;
  EXPECT_EQ(header_of(again, "Idempotent-Replayed"), "true");
  EXPECT_EQ(body_of(again).at("data"), body_of(first).at("data"));
  EXPECT_EQ(dispatcher.jobs.size(), 1u);
  EXPECT_EQ(body_of(first).at("id"), "req_1");
  EXPECT_TRUE(from_base64(body_of(first).at("data").at(0).at("b64_json").as_string()));
  EXPECT_EQ(post(R"({"prompt": "a dog"})", {{"idempotency-key", "k1"}}).status, 409);
  EXPECT_EQ(post(body, {{"idempotency-key", "two words"}}).status, 400);
  const auto raw = post(R"({"prompt": "a kitten"})", {{"idempotency-key", "k2"}, {"accept", "image/webp"}});
  EXPECT_EQ(raw.status, 200);
  EXPECT_EQ(raw.content_type, "image/webp");
  EXPECT_FALSE(header_of(raw, "x-diffused-seed").empty());
}

TEST_F(Jobs, TellTheFailureOfARequestThatWaitsUnderItsKey) {
  dispatcher.failure = Error{ErrorCode::unsupported, "not this one", "prompt", {}};
  start();
  const auto failed = post(R"({"prompt": "a kitten"})", {{"idempotency-key", "k1"}});
  EXPECT_EQ(failed.status, 400) << *failed.body;
  EXPECT_EQ(body_of(failed).at("error").at("message"), "not this one");
  EXPECT_EQ(header_of(failed, "x-should-retry"), "false");
}

TEST_F(Jobs, GoOnWhenTheOneWhoWaitedUnderAKeyHasGone) {
  dispatcher.hold = true;
  const std::string body = R"({"prompt": "a kitten", "response_format": "b64_json"})";
  http::Request request = ApiFixture::request("POST", "/v1/images/generations", body);
  request.headers.emplace_back("idempotency-key", "k1");
  http::FakeExchange gone(io, request);
  dispatcher.on_submit = [&] {
    submitted_.push(dispatcher.jobs.back());
    asio::post(io, [&] { gone.cancel(); });
  };
  start();
  run(gone);
  const FakeDispatcher::Job job = next_submitted();
  EXPECT_FALSE(gone.response);
  EXPECT_FALSE(*job.cancelled);
  dispatcher.run(job);
  const auto again = post(body, {{"idempotency-key", "k1"}});
  EXPECT_EQ(again.status, 200) << *again.body;
  EXPECT_EQ(header_of(again, "Idempotent-Replayed"), "true");
}

TEST_F(Jobs, TellTheirStepsAndPreviewsToWhoeverWatches) {
  dispatcher.hold = true;
  const std::string id = accepted(R"("prompt": "a", "partial_images": 1, "num_inference_steps": 2)");
  http::FakeExchange exchange(io, request("GET", "/v1/images/jobs/" + id + "/events"));
  exchange.on_sent = [&](const auto& event) {
    if (event.name != "image.job.queued") return;
    start();
    dispatcher.run(next_submitted());
  };
  run(exchange);
  std::vector<std::string> names;
  for (const auto& event : exchange.sent) names.push_back(event.name);
  EXPECT_THAT(names, ElementsAre("image.job.queued", "image.job.step", "image.job.preview", "image.job.step",
                                 "image.job.done"));
  EXPECT_EQ(json::parse(exchange.sent[0].data).at("queue_position"), 0);
  EXPECT_EQ(json::parse(exchange.sent[1].data).at("progress"), 50);
  EXPECT_TRUE(from_base64(json::parse(exchange.sent[2].data).at("b64_json").as_string()));
  EXPECT_EQ(json::parse(exchange.sent[4].data).at("job").at("status"), "completed");
  EXPECT_EQ(exchange.sent[3].id, "1.3");
  // Who has seen the end is told to stay away; others get the end again.
  http::Request seen = request("GET", "/v1/images/jobs/" + id + "/events");
  seen.headers.emplace_back("last-event-id", exchange.sent[4].id);
  EXPECT_EQ(ask(std::move(seen)).status, 204);
  EXPECT_EQ(watch(id, "1.3").size(), 1u);
}

TEST(JobEventLog, GivesAReturningWatcherWhatItHasNotSeen) {
  JobEventLog feed;
  feed.begin(1, 4);
  for (const char* name : {"a", "b", "c"}) feed.add(name, "{}");
  const auto rest = feed.after(*EventId::parse("1.2"));
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].name, "c");
  feed.begin(2, 4);
  feed.add("again", "{}");
  EXPECT_EQ(feed.after(rest[0].id).at(0).name, "again");
  EXPECT_EQ(feed.after(rest[0].id).at(0).id.text(), "2.1");
  for (int i = 0; i < 1000; ++i) feed.add("many", "{}");
  EXPECT_EQ(feed.after({}).size(), 256u);
  for (int i = 0; i < 3; ++i) feed.add("large", std::string(10 << 20, 'x'));
  EXPECT_EQ(feed.after({}).size(), 1u);
  for (const char* wrong : {"", "1", "1.", ".1", "a.b", "1.2.3", "1.2x"})
    EXPECT_FALSE(EventId::parse(wrong)) << wrong;
}

TEST_F(Jobs, AreDeletedWithTheirPicturesButNotWhileTheyGoOn) {
  const std::string id = accepted();
  EXPECT_EQ(ask("DELETE", "/v1/images/jobs/" + id).status, 409);
  start();
  const json::object done = finished(id);
  EXPECT_GT(images.bytes(), 0u);
  const auto response = ask("DELETE", "/v1/images/jobs/" + id);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(body_of(response).at("deleted"), true);
  EXPECT_EQ(images.bytes(), 0u);
  for (const char* what : {"", "/events"})
    EXPECT_EQ(ask("GET", "/v1/images/jobs/" + id + what).status, 404) << what;
  EXPECT_EQ(ask("POST", "/v1/images/jobs/" + id + "/cancel").status, 404);
  EXPECT_EQ(ask("DELETE", "/v1/images/jobs/" + id).status, 404);
}

TEST_F(Jobs, AreCancelledInTheQueue) {
  const std::string id = accepted();
  const auto response = ask("POST", "/v1/images/jobs/" + id + "/cancel");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(body_of(response).at("status"), "cancelled");
  EXPECT_EQ(watch(id).back().name, "image.job.done");
}

TEST_F(Jobs, AreCancelledOnTheDevice) {
  dispatcher.hold = true;
  const std::string id = accepted();
  start();
  const auto job = next_submitted();
  EXPECT_EQ(show(id).at("status"), "in_progress");
  EXPECT_EQ(body_of(ask("POST", "/v1/images/jobs/" + id + "/cancel")).at("status"), "cancelled");
  while (!*job.cancelled) std::this_thread::yield();
  job.sink(JobFailed{Error{ErrorCode::cancelled, "cancelled"}});
  EXPECT_EQ(show(id).at("status"), "cancelled");
}

TEST_F(Jobs, ThatFailSayWhy) {
  dispatcher.failure = Error{ErrorCode::unsupported, "not this one", "prompt"};
  const std::string id = accepted();
  start();
  const json::object done = finished(id);
  EXPECT_EQ(done.at("status"), "failed");
  EXPECT_EQ(done.at("error").at("message"), "not this one");
  EXPECT_TRUE(done.at("result").is_null());
}

TEST_F(Jobs, AreListedPageByPage) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(accepted());
  const json::value page = body_of(ask("GET", "/v1/images/jobs?limit=2"));
  EXPECT_EQ(page.at("object"), "list");
  EXPECT_EQ(page.at("has_more"), true);
  EXPECT_EQ(page.at("first_id"), json::value(ids[2]));
  EXPECT_EQ(page.at("last_id"), json::value(ids[1]));
  const json::value rest = body_of(ask("GET", "/v1/images/jobs?limit=2&after=" + ids[1]));
  EXPECT_EQ(rest.at("has_more"), false);
  EXPECT_EQ(rest.at("data").at(0).at("id"), json::value(ids[0]));
  EXPECT_EQ(body_of(ask("GET", "/v1/images/jobs?order=asc")).at("first_id"), json::value(ids[0]));
  for (const char* wrong : {"limit=0", "limit=101", "limit=x", "order=up"})
    EXPECT_EQ(ask("GET", std::string("/v1/images/jobs?") + wrong).status, 400) << wrong;
  EXPECT_EQ(ask("GET", "/v1/images/jobs?after=job_none").status, 404);
}

TEST_F(Jobs, RunAgainWithTheSameSeedsAfterACrash) {
  dispatcher.hold = true;
  const std::string id = accepted();
  start();
  const auto first = next_submitted();
  dispatcher.hold = false;
  restart();
  const json::object done = finished(id);
  EXPECT_EQ(done.at("status"), "completed");
  EXPECT_EQ(done.at("attempts"), 2);
  EXPECT_EQ(done.at("seeds").at(0), first.request.seeds[0]);
}

TEST_F(Jobs, KeepThePicturesTheyStartFromThroughACrash) {
  const Image picture = plain_image(32, 32, 77);
  const std::string url = "data:image/png;base64," + to_base64(*find_codec("png")->encode(picture, {}));
  const auto response =
      ask("POST", "/v1/images/edits",
          R"({"prompt": "a hat", "background_job": true, "strength": 0.5, "image": ")" + url + "\"}");
  ASSERT_EQ(response.status, 202) << *response.body;
  dispatcher.hold = true;
  restart();
  const auto job = next_submitted();
  ASSERT_TRUE(job.request.init_image);
  EXPECT_EQ(job.request.init_image->pixels, picture.pixels);
  EXPECT_EQ(job.request.strength, 0.5);
  EXPECT_GT(inputs_.bytes(), 0u);
  dispatcher.run(job);
  EXPECT_EQ(finished(std::string(body_of(response).at("id").as_string())).at("status"), "completed");
  while (inputs_.bytes() > 0) std::this_thread::yield();  // they go once the end is written down
}

TEST_F(Jobs, AreDescribedWithAllThatBelongsToThem) {
  const json::value described = describe_api(api);
  const json::object& paths = described.at("paths").as_object();
  const auto names = [](const json::value& operation) {
    std::vector<std::string> names;
    if (const auto* parameters = operation.as_object().if_contains("parameters"))
      for (const json::value& parameter : parameters->as_array())
        names.emplace_back(parameter.at("name").as_string());
    return names;
  };
  for (const char* path : {"/v1/images/generations", "/v1/images/edits", "/v1/images/variations"}) {
    const json::value& operation = paths.at(path).at("post");
    EXPECT_TRUE(operation.at("responses").as_object().contains("202")) << path;
    EXPECT_THAT(names(operation), testing::IsSupersetOf({"Prefer", "Idempotency-Key"})) << path;
  }
  EXPECT_THAT(names(paths.at("/v1/images/jobs").at("get")), ElementsAre("limit", "order", "after"));
  const json::value& events = paths.at("/v1/images/jobs/{id}/events").at("get");
  EXPECT_THAT(names(events), ElementsAre("id", "Last-Event-ID"));
  EXPECT_TRUE(events.at("responses").as_object().contains("204"));
  EXPECT_TRUE(events.at("responses").at("200").at("content").as_object().contains("text/event-stream"));
  EXPECT_TRUE(paths.at("/v1/images/jobs/{id}").as_object().contains("delete"));
  // All of it goes where no jobs are kept.
  api.background = nullptr;
  const json::value without = describe_api(api);
  const json::value& generations = without.at("paths").at("/v1/images/generations").at("post");
  EXPECT_FALSE(generations.at("responses").as_object().contains("202"));
  EXPECT_FALSE(without.at("paths").as_object().contains("/v1/images/jobs"));
}

TEST_F(Jobs, SpecsComeBackAsTheyWere) {
  JobSpec spec;
  spec.request.codec = find_codec("jpeg");
  spec.request.quality = 60;
  spec.request.response_format = ResponseFormat::b64_json;
  spec.request.generate.model = "demo";
  spec.request.generate.prompt = "äöü \"quoted\"\n";
  spec.request.generate.negative_prompt_2 = "";
  spec.request.generate.guidance_scale = 0.1;
  spec.request.generate.flow_shift = 2.5;
  spec.request.generate.timesteps = {900, 1.5};
  spec.request.generate.skip_guidance_layers = {7};
  spec.request.generate.loras = {{"style/ink", -0.75}, {"äöü", 1}};
  spec.request.generate.original_size = {{768, 512}};
  spec.request.generate.true_cfg_scale = 2.5;
  spec.request.generate.seeds = {0, ~std::uint64_t{0}};
  spec.pictures = {{"mask", {"in_1"}}, {"references", {"in_2", "in_3"}}};
  const auto read = read_spec(write_spec(spec));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->request.generate.seeds, spec.request.generate.seeds);
  EXPECT_EQ(read->request.generate.prompt, spec.request.generate.prompt);
  EXPECT_EQ(read->request.generate.negative_prompt_2, "");
  EXPECT_EQ(read->request.generate.negative_prompt, std::nullopt);
  EXPECT_EQ(read->request.generate.original_size, spec.request.generate.original_size);
  EXPECT_EQ(read->pictures, spec.pictures);
  // As servers of other versions read and write them.
  EXPECT_EQ(json::parse(write_spec(spec)).at("mask"), "in_1");
  EXPECT_EQ(json::parse(write_spec(spec)).at("init_image"), "");
  ASSERT_EQ(read->request.generate.loras.size(), 2u);
  EXPECT_EQ(read->request.generate.loras[0].name, "style/ink");
  EXPECT_EQ(read->request.generate.loras[0].weight, -0.75);
  EXPECT_EQ(read->request.generate.timesteps, spec.request.generate.timesteps);
  EXPECT_EQ(read->request.generate.skip_guidance_layers, spec.request.generate.skip_guidance_layers);
  EXPECT_EQ(write_spec(*read), write_spec(spec));
  // As a program wrote it that knew no such field.
  json::object older = json::parse(write_spec(spec)).as_object();
  older.erase("flow_shift");
  older.erase("loras");
  older.erase("timesteps");
  EXPECT_TRUE(read_spec(json::serialize(older))->request.generate.timesteps.empty());
  older.erase("references");
  EXPECT_EQ(read_spec(json::serialize(older))->request.generate.flow_shift, std::nullopt);
  EXPECT_TRUE(read_spec(json::serialize(older))->request.generate.loras.empty());
  EXPECT_FALSE(read_spec(json::serialize(older))->pictures.contains("references"));
  older.erase("prompt");
  EXPECT_EQ(read_spec(json::serialize(older)).error().code, ErrorCode::data_loss);
  for (const char* damaged : {"", "{}", "[]", R"({"version": 2})", R"({"version": 1})"})
    EXPECT_EQ(read_spec(damaged).error().code, ErrorCode::data_loss) << damaged;
}

}  // namespace
}  // namespace diffused::api
