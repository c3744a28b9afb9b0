#include <gtest/gtest.h>

#include "api/fixture.h"

namespace diffused::api {
namespace {

class FakeEngine final : public EngineView {
 public:
  EngineStatus now;
  std::vector<ActivityInterval> hour;
  std::vector<std::pair<std::string, ModelWish>> wishes;

  EngineStatus status() const override { return now; }
  std::vector<ActivityInterval> activity() const override { return hour; }
  Result<void> change(const std::string& model, ModelWish wish) override {
    if (model != "demo") return fail(ErrorCode::not_found, "no such model", "model", "model_not_found");
    wishes.emplace_back(model, wish);
    return {};
  }
};

struct StatusOf : ApiFixture, testing::Test {
  FakeEngine engine;

  StatusOf() {
    api.engine = &engine;
    engine.now.models = {{.name = "demo", .movable = true, .weight_bytes = 5}};
    engine.now.work = {{.id = "job_1", .user = "anna", .model = "demo", .pictures = 2, .running = true},
                       {.id = "job_2", .user = "berta", .model = "demo", .pictures = 1},
                       {.id = "job_3", .user = "anna", .model = "demo", .pictures = 1}};
    engine.now.failures = {{7, "demo", "out_of_memory"}};
  }

  void give_keys() {
    api.options.keys = std::make_shared<Keys>(
        KeyRing::parse(key_line({"anna"}, "sk-a").value() + "\n" +
                       key_line({.name = "boss", .priority = 0, .is_operator = true}, "sk-o").value())
            .value());
  }

  http::Response ask_with(const std::string& method, const std::string& target, const std::string& key,
                          const std::string& peer = "192.0.2.7") {
    http::Request asked = request(method, target);
    asked.peer = peer;
    if (!key.empty()) asked.headers.emplace_back("authorization", "Bearer " + key);
    return ask(std::move(asked));
  }
};

TEST_F(StatusOf, ShowsEverybodysWorkToAnOperator) {
  give_keys();
  const json::value body = body_of(ask_with("GET", "/v1/status", "sk-o"));
  EXPECT_EQ(body.at("operator"), true);
  EXPECT_EQ(body.at("work").as_array().size(), 3u);
  EXPECT_EQ(body.at("work").at(2).at("waiting_before"), 1);
  EXPECT_EQ(body.at("jobs_waiting"), 2);
  EXPECT_EQ(body.at("models").at(0).at("state"), "loaded");
  EXPECT_EQ(body.at("models").at(0).at("jobs_running"), 1);
  EXPECT_EQ(body.at("failures").at(0).at("code"), "out_of_memory");
}

TEST_F(StatusOf, ShowsAKeyHolderNobodyElsesWork) {
  give_keys();
  const json::value body = body_of(ask_with("GET", "/v1/status", "sk-a"));
  EXPECT_EQ(body.at("operator"), false);
  ASSERT_EQ(body.at("work").as_array().size(), 2u);
  for (const json::value& work : body.at("work").as_array()) EXPECT_EQ(work.at("user"), "anna");
  EXPECT_EQ(ask_with("GET", "/v1/status", "").status, 401);
}

TEST_F(StatusOf, WithoutKeysOnlyThisMachineIsAnOperator) {
  EXPECT_EQ(body_of(ask_with("GET", "/v1/status", "", "127.0.0.1")).at("operator"), true);
  EXPECT_EQ(body_of(ask_with("GET", "/v1/status", "", "::1")).at("operator"), true);
  EXPECT_EQ(body_of(ask_with("GET", "/v1/status", "")).at("operator"), false);
  http::Request forwarded = request("GET", "/v1/status");
  forwarded.peer = "127.0.0.1";
  forwarded.headers.emplace_back("x-forwarded-for", "192.0.2.9");
  EXPECT_EQ(body_of(ask(std::move(forwarded))).at("operator"), false);
}

TEST_F(StatusOf, TellsTheHourInColumns) {
  engine.hour = {
      {.begin = 100, .steps = 8, .batches = 2, .total_seconds = {3, 1, 2}, .queue_seconds = {0, 0, 1}},
      {.begin = 110}};
  const json::value body = body_of(ask("GET", "/v1/status/history"));
  const json::value& activity = body.at("activity");
  EXPECT_EQ(activity.at("time"), (json::array{100, 110}));
  EXPECT_EQ(activity.at("steps"), (json::array{8, 0}));
  EXPECT_EQ(activity.at("total_p50").at(0).to_number<double>(), 2);
  EXPECT_TRUE(activity.at("total_p50").at(1).is_null());
  EXPECT_EQ(body.at("total_seconds").at("p99").to_number<double>(), 3);
  EXPECT_EQ(body.at("queue_seconds").at("p50").to_number<double>(), 0);
}

TEST_F(StatusOf, LetsAnOperatorChangeModels) {
  give_keys();
  EXPECT_EQ(ask_with("POST", "/v1/models/demo/unload", "sk-a").status, 403);
  EXPECT_TRUE(engine.wishes.empty());
  EXPECT_EQ(ask_with("POST", "/v1/models/demo/unload", "sk-o").status, 200);
  EXPECT_EQ(ask_with("POST", "/v1/models/demo/pin", "sk-o").status, 200);
  EXPECT_EQ(engine.wishes, (std::vector<std::pair<std::string, ModelWish>>{{"demo", ModelWish::unload},
                                                                           {"demo", ModelWish::pin}}));
  EXPECT_EQ(ask_with("POST", "/v1/models/other%2Fmodel/load", "sk-o").status, 404);
  EXPECT_EQ(ask_with("POST", "/v1/models/demo/explode", "sk-o").status, 404);
}

TEST_F(StatusOf, AServerWithoutAnEngineHasNone) {
  api.engine = nullptr;
  EXPECT_EQ(ask("GET", "/v1/status").status, 404);
}

}  // namespace
}  // namespace diffused::api
