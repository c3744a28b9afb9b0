#include <thread>

#include "api/fixture.h"
#include "image/base64.h"
#include "image/codec.h"

namespace diffused::api {
namespace {

class Streams : public testing::Test, public ApiFixture {
 protected:
  http::FakeExchange exchange_for(const std::string& body) {
    return http::FakeExchange(io, ApiFixture::request("POST", "/v1/images/generations", body));
  }
  // The events without the comments.
  static std::vector<std::string> names(const http::FakeExchange& exchange) {
    std::vector<std::string> names;
    for (const auto& sent : exchange.sent)
      if (!sent.comment) names.push_back(sent.name);
    return names;
  }
};

TEST_F(Streams, SendPartialImagesAndThenTheCompletedOne) {
  auto exchange = exchange_for(
      R"({"prompt": "x", "stream": true, "partial_images": 2, "seed": 5, "safety_identifier": "s"})");
  run(exchange);
  EXPECT_FALSE(exchange.response);
  EXPECT_EQ(names(exchange),
            (std::vector<std::string>{"image_generation.partial_image", "image_generation.partial_image",
                                      "image_generation.completed"}));
  int index = 0;
  for (const auto& sent : exchange.sent) {
    if (sent.comment) continue;
    const auto data = json::parse(sent.data).as_object();
    EXPECT_EQ(std::string(data.at("type").as_string()), sent.name);
    EXPECT_EQ(data.at("created_at"), 1'700'000'000);
    EXPECT_EQ(data.at("background"), "opaque");
    EXPECT_EQ(data.at("output_format"), "png");
    EXPECT_EQ(data.at("quality"), "medium");
    EXPECT_EQ(data.at("image_index"), 0);
    const auto image = decode_image(from_base64(std::string(data.at("b64_json").as_string())).value(), {});
    ASSERT_TRUE(image);
    EXPECT_EQ(std::string(data.at("size").as_string()),
              std::to_string(image->width) + "x" + std::to_string(image->height));
    EXPECT_EQ(image->width, 64);  // a preview too, though it is made in eight
    const bool partial = sent.name == "image_generation.partial_image";
    EXPECT_EQ(data.contains("partial_image_index"), partial);
    if (partial) {
      EXPECT_EQ(data.at("partial_image_index"), index++);
    }
    EXPECT_EQ(data.contains("usage"), !partial);
    EXPECT_EQ(data.contains("seed"), !partial);
    EXPECT_EQ(data.contains("safety_identifier"), !partial);
  }
  EXPECT_EQ(dispatcher.jobs[0].options.previews, 2);
  EXPECT_FALSE(dispatcher.jobs[0].options.step_events);
}

TEST_F(Streams, SpeakAtOnceAndNameTheQueue) {
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true})");
  run(exchange);
  ASSERT_FALSE(exchange.sent.empty());
  EXPECT_TRUE(exchange.sent[0].comment);
  EXPECT_EQ(names(exchange), std::vector<std::string>{"image_generation.completed"});
  ASSERT_TRUE(exchange.stream_headers);
  EXPECT_EQ(exchange.stream_headers->at(4).first, "x-diffused-queue-position");
}

TEST_F(Streams, CompletePicturesInTheirOrder) {
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true, "n": 2, "partial_images": 1, "seed": 7})");
  run(exchange);
  std::vector<std::string> seen;
  for (const auto& sent : exchange.sent) {
    if (sent.comment) continue;
    const auto data = json::parse(sent.data).as_object();
    seen.push_back(sent.name.substr(17) + std::to_string(data.at("image_index").to_number<int>()));
    EXPECT_EQ(sent.name == "image_generation.completed" ? 0 : data.at("partial_image_index").as_int64(), 0);
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"partial_image1", "partial_image0", "completed0", "completed1"}));
}

TEST_F(Streams, TellEachStepWhenAsked) {
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true, "progress_events": true, "steps": 2})");
  run(exchange);
  EXPECT_EQ(names(exchange),
            (std::vector<std::string>{"image_generation.progress", "image_generation.progress",
                                      "image_generation.completed"}));
}

TEST_F(Streams, EndWithAnErrorEventWhenTheJobFails) {
  dispatcher.failure = Error{ErrorCode::deadline, "it took too long", {}, {}};
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true})");
  run(exchange);
  EXPECT_EQ(names(exchange), std::vector<std::string>{"error"});
  const auto data = json::parse(exchange.sent.back().data);
  EXPECT_EQ(data.at("type"), "error");
  EXPECT_EQ(data.at("error").at("code"), "deadline_exceeded");
  EXPECT_EQ(data.at("error").at("message"), "it took too long");
}

TEST_F(Streams, RefuseBeforeTheFirstByteWithAnOrdinaryError) {
  dispatcher.refusal = Error{ErrorCode::overloaded, "full", {}, {}, std::chrono::milliseconds(1000)};
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true})");
  run(exchange);
  ASSERT_TRUE(exchange.response);
  EXPECT_EQ(exchange.response->status, 429);
  EXPECT_FALSE(exchange.stream_headers);
}

TEST_F(Streams, SayThatTheyAreAliveWhileNothingHappens) {
  dispatcher.hold = true;
  api.options.keep_alive = std::chrono::milliseconds(1);
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true})");
  int comments = 0;
  exchange.on_sent = [&](const http::FakeExchange::Sent& sent) {
    if (sent.comment && ++comments == 4) dispatcher.run(dispatcher.jobs[0]);
  };
  run(exchange);
  EXPECT_GE(comments, 4);
  EXPECT_EQ(names(exchange), std::vector<std::string>{"image_generation.completed"});
}

TEST_F(Streams, CancelTheJobWhenTheClientStopsReading) {
  dispatcher.hold = true;
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true, "n": 3})");
  exchange.sent_max = 2;
  run(exchange, [&] { dispatcher.run(dispatcher.jobs[0]); });
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
  EXPECT_EQ(exchange.sent.size(), 2u);
}

TEST_F(Streams, CancelTheJobWhenTheClientGoesWhileItWaits) {
  dispatcher.hold = true;
  auto exchange = exchange_for(R"({"prompt": "x", "stream": true})");
  run(exchange, [&] { exchange.cancel(); });
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
}

}  // namespace
}  // namespace diffused::api
