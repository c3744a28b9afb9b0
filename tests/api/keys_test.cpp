#include "api/keys.h"

#include <set>

#include "api/fixture.h"
#include "image/base64.h"

namespace diffused::api {
namespace {

TEST(KeyRing, KnowsTheHoldersOfItsKeys) {
  const std::string file = "# who may\n\n" + key_line({"anna"}, "sk-a").value() + " # until May\n" +
                           key_line({"anna"}, "sk-new").value() + "\r\n\t" +
                           key_line({"berta.b"}, "sk-b").value();
  const auto ring = KeyRing::parse(file);
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_EQ(ring->holder_of("sk-a")->name, "anna");
  EXPECT_EQ(ring->holder_of("sk-new")->name, "anna");
  EXPECT_EQ(ring->holder_of("sk-b")->name, "berta.b");
  for (const char* wrong : {"", "sk", "sk-a ", "SK-A", "anna", "sk-c"})
    EXPECT_FALSE(ring->holder_of(wrong)) << wrong;
}

TEST(KeyRing, TakesTheSumsThatOtherProgramsPrint) {
  // printf sk-test | sha256sum
  const auto ring =
      KeyRing::parse("me sha256:F3ABF2A6CC4F00987743DB5F544BA345B4899AE31F326D8EE9C4816DE153C9E0");
  ASSERT_TRUE(ring);
  ASSERT_TRUE(ring->holder_of("sk-test"));
}

TEST(KeyRing, KnowsWhoseWorkGoesFirst) {
  const auto ring =
      KeyRing::parse(key_line({"anna", 100}, "sk-a").value() + "  # the boss\n" +
                     key_line({"berta", -7}, "sk-b").value() + "\n" + key_line({"carl"}, "sk-c").value());
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_EQ(ring->holder_of("sk-a")->priority, 100);
  EXPECT_EQ(ring->holder_of("sk-b")->priority, -7);
  EXPECT_EQ(ring->holder_of("sk-c")->priority, 0);
  EXPECT_FALSE(key_line({"anna", 101}, "sk-a"));
  EXPECT_FALSE(key_line({"anna", -101}, "sk-a"));
  for (const char* wrong : {" priority=101", " priority=", " priority=1x", " priority=1 2", " 5"})
    EXPECT_FALSE(KeyRing::parse(key_line({"anna"}, "sk-a").value() + wrong)) << wrong;
}

TEST(KeyRing, KnowsWhatItsHoldersMeanByAModelsName) {
  const std::string line = key_line({"anna", 3, {{"gpt-image-1", "photo"}, {"x", "a=b"}}}, "sk-a").value();
  EXPECT_EQ(line.substr(line.find(" priority")), " priority=3 alias=gpt-image-1=photo alias=x=a=b");
  const auto ring = KeyRing::parse(line + "\n" + key_line({"anna", 0, {{"y", "ink"}}}, "sk-n").value() +
                                   "\n" + key_line({"berta"}, "sk-b").value());
  ASSERT_TRUE(ring) << ring.error().message;
  const Keys keys(*ring);
  EXPECT_EQ(model_meant(&keys, "anna", "gpt-image-1"), "photo");
  EXPECT_EQ(model_meant(&keys, "anna", "x"), "a=b");
  EXPECT_EQ(model_meant(&keys, "anna", "y"), "ink");
  EXPECT_EQ(model_meant(&keys, "anna", "z"), "z");
  EXPECT_EQ(model_meant(&keys, "berta", "gpt-image-1"), "gpt-image-1");
  EXPECT_EQ(model_meant(nullptr, "anna", "gpt-image-1"), "gpt-image-1");
  for (const std::pair<const std::string, std::string>& wrong :
       {std::pair<const std::string, std::string>{"", "m"},
        {"a", ""},
        {"a b", "m"},
        {"a", "m#"},
        {"a=", "m"}})
    EXPECT_FALSE(key_line({"anna", 0, {wrong}}, "sk-a")) << wrong.first;
  for (const char* wrong :
       {" alias=", " alias=a", " alias=a=", " alias==m", " alias=a=m alias=a=n", " alias=a=m more"})
    EXPECT_FALSE(KeyRing::parse(key_line({"anna"}, "sk-a").value() + wrong)) << wrong;
}

TEST(KeyRing, KnowsWhoLooksAfterTheServer) {
  const auto ring =
      KeyRing::parse(key_line({.name = "boss", .priority = 3, .is_operator = true}, "sk-o").value() + "\n" +
                     key_line({"anna"}, "sk-a").value() + "\n" + key_line({"carl"}, "sk-c").value() +
                     " operator priority=2");
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_TRUE(ring->holder_of("sk-o")->is_operator);
  EXPECT_EQ(ring->holder_of("sk-o")->priority, 3);
  EXPECT_FALSE(ring->holder_of("sk-a")->is_operator);
  EXPECT_TRUE(ring->holder_of("sk-c")->is_operator);
}

TEST(KeyRing, RefusesAFileThatIsNotOneOfKeys) {
  const std::string good = key_line({"anna"}, "sk-a").value() + "\n";
  for (const std::string& bad :
       {std::string("sk-plain-key"), std::string("anna sk-plain-key"), std::string("anna sha256:abcd"),
        "sp ace " + good, good.substr(0, good.size() - 2) + "g", good.substr(0, good.size() - 1) + " more"}) {
    const auto ring = KeyRing::parse(good + bad);
    ASSERT_FALSE(ring) << bad;
    EXPECT_EQ(ring.error().message.rfind("line 2 ", 0), 0u) << ring.error().message;
    EXPECT_EQ(ring.error().message.find("sk-plain-key"), std::string::npos);
  }
  EXPECT_FALSE(KeyRing::parse(""));
  EXPECT_FALSE(KeyRing::parse("# nobody\n"));
  EXPECT_FALSE(key_line({"no spaces"}, "x"));
  EXPECT_FALSE(key_line({""}, "x"));
}

class KeyedApi : public testing::Test, public ApiFixture {
 protected:
  KeyedApi() {
    const std::string file = key_line({"anna"}, "sk-a").value() + "\n" + key_line({"berta"}, "sk-b").value();
    keys = std::make_shared<Keys>(KeyRing::parse(file).value());
    api.options.keys = keys;
  }
  std::shared_ptr<Keys> keys;

  http::Response generate(std::vector<std::pair<std::string, std::string>> headers) {
    http::Request wanted = request("POST", "/v1/images/generations", R"({"prompt": "x"})");
    wanted.headers.insert(wanted.headers.end(), headers.begin(), headers.end());
    return ask(std::move(wanted));
  }
};

TEST_F(KeyedApi, LetsAKeysHolderInUnderItsName) {
  EXPECT_EQ(generate({{"authorization", "Bearer sk-a"}}).status, 200);
  EXPECT_EQ(dispatcher.jobs.back().options.user, "anna");
  EXPECT_EQ(generate({{"authorization", "bearer  sk-b"}}).status, 200);
  EXPECT_EQ(dispatcher.jobs.back().options.user, "berta");
  EXPECT_EQ(generate({{"api-key", "sk-a"}}).status, 200);
  EXPECT_EQ(dispatcher.jobs.back().options.user, "anna");
}

TEST_F(KeyedApi, RefusesWhoeverShowsNone) {
  for (const std::string& authorization :
       {std::string(), std::string("Bearer"), std::string("Bearer "), std::string("Bearer sk-c"),
        std::string("sk-a"), std::string("Basic ") + to_base64("anna:sk-a"), std::string("Bearersk-a")}) {
    const auto response = generate({{"authorization", authorization}});
    EXPECT_EQ(response.status, 401) << authorization;
    EXPECT_EQ(header_of(response, "WWW-Authenticate"), "Bearer");
    const auto error = body_of(response).at("error").as_object();
    EXPECT_EQ(error.at("code"), "invalid_api_key");
    EXPECT_EQ(error.at("type"), "invalid_request_error");
  }
  EXPECT_TRUE(dispatcher.jobs.empty());
}

TEST_F(KeyedApi, HoldsBackAnswersToGuessesOnly) {
  const auto held_back = [&](const char* key) {
    return generate({{"authorization", std::string("Bearer ") + key}}).held_back;
  };
  for (int i = 0; i < 5; ++i) EXPECT_EQ(held_back("sk-guess").count(), 0);
  EXPECT_EQ(held_back("sk-guess").count(), 100);
  EXPECT_EQ(held_back("sk-a").count(), 0);
  EXPECT_EQ(held_back("sk-guess").count(), 200);
  for (int i = 0; i < 30; ++i) held_back("sk-guess");
  EXPECT_EQ(held_back("sk-guess").count(), 2'000);
  EXPECT_EQ(generate({}).held_back.count(), 0);  // without a key it is no guess
  clock.advance(60);
  EXPECT_EQ(held_back("sk-guess").count(), 0);
}

TEST(WrongKeys, AreCountedByAddressForAsManyAsThereIsRoomFor) {
  WrongKeys wrong;
  const SteadyTime now{};
  for (int i = 0; i < 4'096; ++i) EXPECT_EQ(wrong.note(std::to_string(i), now).count(), 0);
  EXPECT_EQ(wrong.note("one more", now).count(), 2'000);
  EXPECT_EQ(wrong.note("one more", now + std::chrono::minutes(1)).count(), 0);
}

TEST_F(KeyedApi, KnowsOtherKeysOnceTheyAreReplaced) {
  keys->replace(
      KeyRing::parse(key_line({"berta"}, "sk-b").value() + "\n" + key_line({"carl"}, "sk-c").value())
          .value());
  EXPECT_EQ(generate({{"authorization", "Bearer sk-a"}}).status, 401);
  EXPECT_EQ(generate({{"authorization", "Bearer sk-b"}}).status, 200);
  EXPECT_EQ(generate({{"authorization", "Bearer sk-c"}}).status, 200);
  EXPECT_EQ(dispatcher.jobs.back().options.user, "carl");
}

TEST_F(KeyedApi, AsksForTheModelThatItsHolderMeans) {
  dispatcher.served.push_back({"other", {}, 0, small_model_info()});
  keys->replace(
      KeyRing::parse(key_line({"anna", 0, {{"dall-e-3", "other"}, {"mine", "demo"}}}, "sk-a").value() + "\n" +
                     key_line({"berta"}, "sk-b").value())
          .value());
  const auto asked = [&](const std::string& key, const std::string& path, const std::string& body) {
    http::Request wanted = request("POST", path, body);
    wanted.headers.emplace_back("authorization", "Bearer " + key);
    const auto response = ask(std::move(wanted));
    return response.status == 200 ? dispatcher.jobs.back().request.model : std::to_string(response.status);
  };
  const std::string generations = "/v1/images/generations", body = R"({"prompt": "x", "model": "dall-e-3"})";
  EXPECT_EQ(asked("sk-a", generations, body), "other");
  EXPECT_EQ(asked("sk-b", generations, body), "demo");
  EXPECT_EQ(asked("sk-b", generations, R"({"prompt": "x", "model": "mine"})"), "404");
  EXPECT_EQ(asked("sk-a", "/openai/deployments/dall-e-3/images/generations", R"({"prompt": "x"})"), "other");
  EXPECT_EQ(asked("sk-a", "/sdapi/v1/txt2img", body), "other");
  const auto models = [&](const std::string& key) {
    http::Request wanted = request("GET", "/v1/models");
    wanted.headers.emplace_back("authorization", "Bearer " + key);
    std::string ids;
    const json::value list = body_of(ask(std::move(wanted)));
    for (const json::value& model : list.at("data").as_array())
      ids += std::string(model.at("id").as_string()) + " ";
    return ids;
  };
  EXPECT_EQ(models("sk-a"), "dall-e-3 mine demo other ");
  EXPECT_EQ(models("sk-b"), "demo dall-e-3 other ");
}

// By the route table itself: a new route is closed unless it stands here.
TEST_F(KeyedApi, IsClosedButForPagesHealthAndPictures) {
  const std::set<std::string> open{"/",      "/status", "/docs",         "/pages/{path*}", "/openapi.json",
                                   "/livez", "/readyz", "/images/{file}"};
  for (const http::Route& route : make_routes(api)) {
    EXPECT_EQ(route.gate == nullptr, open.contains(route.pattern)) << route.pattern;
    if (!route.gate) continue;
    http::Request none = request(route.method, route.pattern);
    EXPECT_EQ(route.gate(none).value().status, 401) << route.pattern;
    http::Request wrong = none;
    wrong.headers.emplace_back("authorization", "Bearer sk-wrong");
    EXPECT_EQ(route.gate(wrong).value().status, 401) << route.pattern;
    http::Request right = none;
    right.headers.emplace_back("authorization", "Bearer sk-b");
    EXPECT_FALSE(route.gate(right)) << route.pattern;
    EXPECT_EQ(right.user, "berta");
  }
}

TEST(KeyGate, IsNoneWithoutKeys) { EXPECT_FALSE(key_gate(nullptr, KeyScheme::bearer, SystemClock())); }

TEST(KeyGate, TakesAPasswordWhereBasicIsSpoken) {
  const SystemClock clock;
  const auto ring = std::make_shared<Keys>(KeyRing::parse(key_line({"anna"}, "sk-a").value()).value());
  const http::Gate gate = key_gate(ring, KeyScheme::basic, clock);
  const auto passes = [&](const std::string& authorization) {
    http::Request request = ApiFixture::request("GET", "/sdapi/v1/options");
    request.headers.emplace_back("authorization", authorization);
    const auto refused = gate(request);
    if (refused) {
      EXPECT_EQ(header_of(*refused, "WWW-Authenticate"), "Basic realm=\"diffused\"");
    }
    return !refused && request.user == "anna";
  };
  EXPECT_TRUE(passes("Basic " + to_base64("anyone:sk-a")));
  EXPECT_TRUE(passes("Basic " + to_base64(":sk-a")));
  EXPECT_TRUE(passes("Basic " + to_base64("sk-a")));
  EXPECT_TRUE(passes("Bearer sk-a"));
  for (const char* const wrong : {"Basic ", "Basic !", "Basic"}) EXPECT_FALSE(passes(wrong)) << wrong;
  EXPECT_FALSE(passes("Basic " + to_base64("sk-a:")));
}

}  // namespace
}  // namespace diffused::api
