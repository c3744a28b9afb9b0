#include <algorithm>
#include <functional>
#include <regex>
#include <set>

#include "api/endpoints.h"
#include "api/fixture.h"
#include "api/sdapi/sd_request.h"
#include "base/json_text.h"

namespace diffused::api {
namespace {

class OpenApi : public testing::Test, public ApiFixture {
 protected:
  json::value described = describe_api(api);

  const json::object& properties_of(const char* path, const char* type = "application/json") const {
    return described.at("paths")
        .at(path)
        .at("post")
        .at("requestBody")
        .at("content")
        .at(type)
        .at("schema")
        .at("properties")
        .as_object();
  }
};

TEST_F(OpenApi, IsServedAsItIsDescribed) {
  const auto response = ask("GET", "/openapi.json");
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(*response.body == json_text(described));
  EXPECT_EQ(described.at("openapi"), "3.1.0");
}

TEST_F(OpenApi, NamesEveryRouteAndNothingElse) {
  std::set<std::string> routes, operations;
  for (const http::Route& route : make_routes(api)) {
    std::string pattern = route.pattern;
    std::erase(pattern, '*');
    routes.insert(route.method + " " + pattern);
  }
  for (const auto& path : described.at("paths").as_object())
    for (const auto& operation : path.value().as_object())
      operations.insert((operation.key() == "get" ? "GET " : "POST ") + std::string(path.key()));
  EXPECT_EQ(operations, routes);
}

// Clients of A1111 write truths in many ways, all of which are read.
TEST_F(OpenApi, DescribesTruthsAsTheyAreRead) {
  for (const char* path : {"/sdapi/v1/txt2img", "/sdapi/v1/img2img"}) {
    const json::array& words = properties_of(path).at("send_images").at("enum").as_array();
    for (const json::value& word : words)
      EXPECT_TRUE(word.is_null() || word == "" || read_truth(word)) << json_text(word);
    for (const json::value& sent : {json::value(0), json::value(true), json::value("True")})
      EXPECT_EQ(std::ranges::count(words, sent), 1) << path;
  }
  EXPECT_EQ(properties_of("/v1/images/generations").at("stream").at("type").at(0), "boolean");
}

TEST_F(OpenApi, NamesEveryFieldWithItsAliasesAndLimits) {
  api.options.limits.n_max = 3;
  described = describe_api(api);
  ImageRequest request;
  const auto& generation = properties_of("/v1/images/generations");
  for (const Field& field : generation_fields(api.options.limits, request)) {
    ASSERT_TRUE(generation.contains(json::string_view(field.name.data(), field.name.size()))) << field.name;
    for (const std::string_view alias : field.aliases)
      EXPECT_TRUE(generation.contains(json::string_view(alias.data(), alias.size()))) << alias;
  }
  EXPECT_EQ(generation.at("n").at("maximum"), 3);
  EXPECT_EQ(generation.at("batch_size").at("maximum"), 3);
  EXPECT_EQ(generation.at("prompt").at("type"), "string");
  EXPECT_EQ(generation.at("prompt").at("maxLength"), 32000);
  EXPECT_EQ(generation.at("output_format").at("enum"), (json::array{"png", "jpeg", "jpg", "webp", nullptr}));
  EXPECT_TRUE(properties_of("/v1/images/edits", "multipart/form-data").contains("image"));
  EXPECT_TRUE(properties_of("/v1/images/edits").contains("strength"));
  EXPECT_TRUE(properties_of("/sdapi/v1/img2img").contains("init_images"));
}

TEST_F(OpenApi, AsksForAKeyWhereTheServerDoes) {
  EXPECT_FALSE(described.at("paths").at("/v1/models").at("get").as_object().contains("security"));
  api.options.keys = std::make_shared<Keys>(KeyRing::parse(key_line({"anna"}, "sk-a").value()).value());
  described = describe_api(api);
  for (const Endpoint& endpoint : make_endpoints(api)) {
    std::string path = endpoint.route.pattern;
    std::erase(path, '*');
    const auto& operation =
        described.at("paths").at(path).at(endpoint.route.method == "GET" ? "get" : "post").as_object();
    EXPECT_EQ(operation.contains("security"), endpoint.route.gate != nullptr) << path;
    EXPECT_EQ(operation.at("responses").as_object().contains("401"), endpoint.route.gate != nullptr) << path;
    EXPECT_EQ(operation.contains("requestBody"), endpoint.body != BodyKind::none) << path;
    EXPECT_FALSE(endpoint.summary.empty()) << path;
  }
}

TEST_F(OpenApi, RefersToNothingThatIsNotThere) {
  std::size_t references = 0;
  const std::function<void(const json::value&)> follow = [&](const json::value& value) {
    if (const auto* array = value.if_array())
      for (const json::value& item : *array) follow(item);
    if (!value.is_object()) return;
    for (const auto& member : value.get_object()) {
      follow(member.value());
      if (member.key() != "$ref") continue;
      ++references;
      const std::string target(member.value().as_string());
      ASSERT_EQ(target.rfind("#/", 0), 0u) << target;
      boost::system::error_code error;
      described.find_pointer(json::string_view(target).substr(1), error);
      EXPECT_FALSE(error) << target;
    }
  };
  follow(described);
  EXPECT_GT(references, 50u);
}

// What a page loads: all that stands in src="…" and in <link … href="…">.
std::set<std::string> files_of(const std::string& page) {
  std::set<std::string> files;
  const std::regex loading(R"re((?:src|<link[^>]* href)="([^"]*)")re");
  for (auto it = std::sregex_iterator(page.begin(), page.end(), loading); it != std::sregex_iterator(); ++it)
    files.insert((*it)[1]);
  EXPECT_GT(files.size(), 2u);
  return files;
}

// The pages work on a machine without a network, and whatever stood in them could run and load nothing.
TEST_F(OpenApi, HasPagesThatNeedNoOtherHost) {
  for (const char* path : {"/", "/status", "/docs"}) {
    const auto page = ask("GET", path);
    EXPECT_EQ(page.content_type, "text/html; charset=utf-8");
    const std::string policy = header_of(page, "Content-Security-Policy");
    EXPECT_EQ(policy.find("default-src 'none'"), 0u) << policy;
    EXPECT_EQ(policy.find("http"), std::string::npos) << policy;
    EXPECT_EQ(policy.find("unsafe"), std::string::npos) << policy;
    for (const char* forbidden : {"://", "@import", "url(", "<style", " style=", " onclick="})
      EXPECT_EQ(page.body->find(forbidden), std::string::npos) << path << forbidden;
    for (const std::string& file : files_of(*page.body)) {
      EXPECT_EQ(file.find('/'), 5u) << file;  // relative, so that a proxy may put a prefix before it
      EXPECT_EQ(ask("GET", "/" + file).status, 200) << file;
    }
  }
}

}  // namespace
}  // namespace diffused::api
