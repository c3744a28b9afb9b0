#include <thread>

#include "api/fixture.h"
#include "base/json_text.h"
#include "image/base64.h"
#include "image/png.h"

namespace diffused::api {
namespace {

class Generations : public testing::Test, public ApiFixture {
 protected:
  http::Response generate(const std::string& body) { return ask("POST", "/v1/images/generations", body); }
};

TEST_F(Generations, HandTheModelEveryFieldUnderAnyOfItsNames) {
  const std::string prompts =
      R"("prompt": "p", "prompt_2": "p2", "prompt_3": "p3", "negative_prompt_2": "n2", )";
  const std::string canonical =
      R"("negative_prompt": "n", "num_inference_steps": 9, "guidance_scale": 3.5, "seed": 5,
    "true_cfg_scale": 2, "clip_skip": 1, "max_sequence_length": 77, "flow_shift": 2.5,
    "scheduler": "FlowMatchHeunDiscreteScheduler")";
  const std::string aliases = R"("neg_prompt": "n", "steps": 9, "cfg": 3.5, "rng_seed": 5,
    "true_cfg_scale": 2, "clip_skip": 1, "max_sequence_length": 77, "sampler_name": "k_heun", "shift": 2.5)";
  for (const std::string& body : {"{" + prompts + canonical + "}", "{" + prompts + aliases + "}",
                                  "{" + prompts + "\"extra_body\": {" + canonical + "}}",
                                  "{" + prompts + "\"extra_params\": {" + aliases + "}}",
                                  "{" + prompts + "\"parameters\": {" + aliases + "}}"}) {
    ASSERT_EQ(generate(body).status, 200) << body;
    const GenerateRequest& request = dispatcher.jobs.back().request;
    EXPECT_EQ(request.model, "demo");
    EXPECT_EQ(request.prompt, "p");
    EXPECT_EQ(request.prompt_2, "p2");
    EXPECT_EQ(request.prompt_3, "p3");
    EXPECT_EQ(request.negative_prompt, "n");
    EXPECT_EQ(request.negative_prompt_2, "n2");
    EXPECT_EQ(request.negative_prompt_3, std::nullopt);
    EXPECT_EQ(request.num_inference_steps, 9);
    EXPECT_EQ(request.guidance_scale, 3.5);
    EXPECT_EQ(request.true_cfg_scale, 2);
    EXPECT_EQ(request.clip_skip, 1);
    EXPECT_EQ(request.max_sequence_length, 77);
    EXPECT_EQ(request.scheduler, "FlowMatchHeunDiscreteScheduler");
    EXPECT_EQ(request.seeds, std::vector<std::uint64_t>{5});
    EXPECT_EQ(request.flow_shift, 2.5);
  }
}

TEST_F(Generations, TakeStepsThatTheCallerLaysOut) {
  ASSERT_EQ(generate(R"({"prompt": "x", "sigmas": [1, 0.5, 0.25], "eta": 0.5, "steps": 50,
    "skip_guidance_layers": [7, 8.0], "skip_layer_guidance_scale": 2, "skip_layer_guidance_start": 0,
    "extra_body": {"skip_layer_guidance_stop": 0.5}, "timesteps": []})")
                .status,
            200);
  const GenerateRequest& request = dispatcher.jobs.back().request;
  EXPECT_THAT(request.sigmas, testing::ElementsAre(1, 0.5, 0.25));
  EXPECT_TRUE(request.timesteps.empty());
  EXPECT_EQ(request.num_inference_steps, 3);
  EXPECT_EQ(request.eta, 0.5);
  EXPECT_THAT(request.skip_guidance_layers, testing::ElementsAre(7, 8));
  EXPECT_EQ(request.skip_layer_guidance_scale, 2);
  EXPECT_EQ(request.skip_layer_guidance_start, 0);
  EXPECT_EQ(request.skip_layer_guidance_stop, 0.5);
  for (const auto& [field, value] : {std::pair("sigmas", R"("1, 0.5")"), std::pair("timesteps", "[1, -2]"),
                                     std::pair("timesteps", R"([1, "2"])"), std::pair("eta", "1.5"),
                                     std::pair("skip_guidance_layers", "[1.5]")}) {
    const auto refused = generate(fmt::format(R"({{"prompt": "x", "{}": {}}})", field, value));
    EXPECT_EQ(refused.status, 400) << field;
    EXPECT_EQ(body_of(refused).at("error").at("param"), field);
  }
}

TEST_F(Generations, CountTheStepsThatTheCallerLaysOut) {
  std::string levels;
  for (int i = 0; i < 2000; ++i) levels += fmt::format("{}{}", i == 0 ? "" : ",", 4000 - i);
  const auto refused = generate(R"({"prompt": "x", "timesteps": [)" + levels + "]}");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(body_of(refused).at("error").at("param"), "timesteps");
}

TEST_F(Generations, RefuseAShiftWhereTheModelHasNone) {
  dispatcher.served[0].info.flow_shift = false;
  const auto refused = generate(R"({"prompt": "x", "shift": 2})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(body_of(refused).at("error").at("param"), "shift");
  EXPECT_EQ(body_of(refused).at("error").at("code"), "unsupported_value");
}

// By default what is not understood is ignored, as most clients need it.
TEST_F(Generations, RefuseWhatIsNotUnderstoodOnlyWhenTheyAreToBeStrict) {
  const std::tuple<std::string, std::string, std::string> kDoubtful[] = {
      {R"("stepps": 3)", "stepps", "unknown_parameter"},
      {R"("steps": 3, "num_inference_steps": 4)", "num_inference_steps", "invalid_value"},
      {R"("quality": "splendid")", "quality", "invalid_value"},
      {R"("background": "transparent")", "background", "invalid_value"},
  };
  for (const auto& [fields, param, code] : kDoubtful) {
    const std::string body = R"({"prompt": "x", )" + fields + "}";
    api.options.limits.strict = false;
    EXPECT_EQ(generate(body).status, 200) << body;
    api.options.limits.strict = true;
    const auto refused = generate(body);
    EXPECT_EQ(refused.status, 400) << body;
    EXPECT_EQ(body_of(refused).at("error").at("param"), json::value(param)) << body;
    EXPECT_EQ(body_of(refused).at("error").at("code"), json::value(code)) << body;
  }
  for (const char* fine : {R"("steps": 3, "num_inference_steps": 3)", R"("steps": null, "step": 3)",
                           R"("extra_body": {"seed": 5})", R"("background": "auto", "quality": "hd")",
                           R"("frame_count": 2, "svg": {}, "complexity": "low", "user": "me")"})
    EXPECT_EQ(generate(R"({"prompt": "x", )" + std::string(fine) + "}").status, 200) << fine;
}

TEST_F(Generations, HandOnWhatOnlySomeFamiliesKnow) {
  ASSERT_EQ(generate(R"({"prompt": "x", "guidance_rescale": 0.7, "cfg_normalization": 1.5,
      "cfg_truncation": 0.8, "denoising_start": 0.5, "denoising_end": 0.9, "aesthetic_score": 7,
      "negative_aesthetic_score": 2, "original_size": [768, 512],
      "crops_coords_top_left": [0, 8], "target_size": [512, 512], "negative_original_size": [1, 2],
      "negative_crops_coords_top_left": [3, 4], "negative_target_size": [5, 6]})")
                .status,
            200);
  using Pixels = std::array<int, 2>;
  const GenerateRequest& request = dispatcher.jobs.back().request;
  EXPECT_EQ(request.guidance_rescale, 0.7);
  EXPECT_EQ(request.cfg_normalization, 1.5);
  EXPECT_EQ(request.cfg_truncation, 0.8);
  EXPECT_EQ(request.denoising_start, 0.5);
  EXPECT_EQ(request.denoising_end, 0.9);
  EXPECT_EQ(request.aesthetic_score, 7);
  EXPECT_EQ(request.negative_aesthetic_score, 2);
  EXPECT_EQ(request.original_size, (Pixels{768, 512}));
  EXPECT_EQ(request.crops_coords_top_left, (Pixels{0, 8}));
  EXPECT_EQ(request.target_size, (Pixels{512, 512}));
  EXPECT_EQ(request.negative_original_size, (Pixels{1, 2}));
  EXPECT_EQ(request.negative_crops_coords_top_left, (Pixels{3, 4}));
  EXPECT_EQ(request.negative_target_size, (Pixels{5, 6}));
}

TEST_F(Generations, TakeMoreStepsForHigherQuality) {
  const auto steps_of = [&](const std::string& fields) {
    const auto response = generate(R"({"prompt": "x", )" + fields + "}");
    EXPECT_EQ(response.status, 200) << *response.body;
    return dispatcher.jobs.back().request.num_inference_steps;
  };
  EXPECT_EQ(steps_of(R"("quality": "low")"), 2);
  EXPECT_EQ(steps_of(R"("quality": "high")"), 6);
  EXPECT_EQ(steps_of(R"("quality": "hd")"), 6);
  EXPECT_EQ(steps_of(R"("quality": "max")"), 12);
  for (const char* own : {"auto", "standard", "medium", "splendid"})
    EXPECT_EQ(steps_of("\"quality\": \"" + std::string(own) + "\""), std::nullopt) << own;
  EXPECT_EQ(steps_of(R"("quality": "max", "steps": 3)"), 3);
  api.options.limits.steps_max = 5;
  EXPECT_EQ(steps_of(R"("quality": "max")"), 5);
}

TEST_F(Generations, PreferTheCanonicalNameAndTheOuterObject) {
  ASSERT_EQ(
      generate(
          R"({"prompt": "x", "steps": 3, "num_inference_steps": 5, "extra_body": {"seed": 1}, "seed": 2})")
          .status,
      200);
  EXPECT_EQ(dispatcher.jobs.back().request.num_inference_steps, 5);
  EXPECT_EQ(dispatcher.jobs.back().request.seeds, std::vector<std::uint64_t>{2});
}

TEST_F(Generations, DrawAnotherSeedForEachRequestThatNamesNone) {
  ASSERT_EQ(generate(R"({"prompt": "x"})").status, 200);
  ASSERT_EQ(generate(R"({"prompt": "x"})").status, 200);
  EXPECT_NE(dispatcher.jobs[0].request.seeds, dispatcher.jobs[1].request.seeds);
}

TEST_F(Generations, StoreThePictureWhereTheUrlPoints) {
  const auto answer = body_of(generate(R"({"prompt": "x", "seed": 3})"));
  const std::string url(answer.at("data").at(0).at("url").as_string());
  const std::string base = "http://localhost:8000";
  ASSERT_EQ(url.rfind(base + "/images/img_", 0), 0u) << url;
  for (const std::string& path : {url.substr(base.size()), "/v1/images/files" + url.substr(url.rfind('/'))}) {
    const http::Response picture = ask("GET", path);
    ASSERT_EQ(picture.status, 200) << path;
    EXPECT_EQ(picture.content_type, "image/png");
    EXPECT_EQ(header_of(picture, "Cross-Origin-Resource-Policy"), "cross-origin");
    EXPECT_EQ(header_of(picture, "Cache-Control"), "private, immutable, max-age=3600");
    const auto image = decode_image(*picture.body, {});
    ASSERT_TRUE(image);
    EXPECT_EQ(image->width, 64);
    EXPECT_EQ(image->pixels[0], 200);
  }
  clock.advance(3600);
  EXPECT_EQ(ask("GET", url.substr(base.size())).status, 404);
}

TEST_F(Generations, BuildUrlsFromThePublicAddressWhenThereIsOne) {
  api.options.public_url = "https://pictures.example";
  const auto answer = body_of(generate(R"({"prompt": "x"})"));
  EXPECT_EQ(
      std::string(answer.at("data").at(0).at("url").as_string()).rfind("https://pictures.example/images/", 0),
      0u);
}

TEST_F(Generations, BuildUrlsOfTheirOwnScheme) {
  http::Request request = ApiFixture::request("POST", "/v1/images/generations", R"({"prompt": "x"})");
  request.tls = true;
  EXPECT_EQ(std::string(body_of(ask(request)).at("data").at(0).at("url").as_string())
                .rfind("https://localhost:8000/", 0),
            0u);
}

TEST_F(Generations, TellNothingInThePngWhereTheyMustNot) {
  api.options.pictures_tell = false;
  const auto answer = body_of(generate(R"({"prompt": "a secret", "response_format": "b64_json"})"));
  const std::string png =
      from_base64(std::string(answer.at("data").at(0).at("b64_json").as_string())).value();
  EXPECT_TRUE(read_png_text(png).value().empty());
  EXPECT_EQ(png.find("secret"), std::string::npos);
}

TEST_F(Generations, AreChargedForAndGiveItBack) {
  api.memory = std::make_shared<MemoryBudget>(2 << 20);
  const auto ask_charged = [&](const char* size) {
    http::Request wanted =
        request("POST", "/v1/images/generations", std::string(R"({"prompt": "x", "size": ")") + size + "\"}");
    wanted.memory = std::make_shared<MemoryCharge>(api.memory, "anna");
    return ask(std::move(wanted));
  };
  EXPECT_EQ(ask_charged("64x64").status, 200);
  EXPECT_EQ(api.memory->bytes_held(), 0u);
  const auto refused = ask_charged("1024x1024");
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(body_of(refused).at("error").at("code"), "request_too_large");
  const auto others = std::make_shared<MemoryCharge>(api.memory, "anna");
  ASSERT_TRUE(others->add(1 << 20, "x"));
  const auto later = ask_charged("128x128");
  EXPECT_EQ(later.status, 429);
  EXPECT_EQ(body_of(later).at("error").at("code"), "memory_share");
  EXPECT_EQ(header_of(later, "Retry-After"), "2");
}

TEST_F(Generations, WriteTheParametersIntoThePng) {
  const auto answer = body_of(generate(
      R"({"prompt": "a kitten", "negative_prompt": "dogs", "seed": 3, "steps": 8, "response_format": "b64_json"})"));
  const auto text =
      read_png_text(from_base64(std::string(answer.at("data").at(0).at("b64_json").as_string())).value());
  ASSERT_TRUE(text);
  ASSERT_EQ(text->size(), 2u);
  EXPECT_EQ((*text)[0].key, "parameters");
  EXPECT_EQ((*text)[0].text,
            "a kitten\nNegative prompt: dogs\nSteps: 8, Sampler: Euler, Schedule type: Automatic, CFG scale: "
            "7, Seed: 3, "
            "Size: 64x64, "
            "Model: demo, Version: diffused 0.0");
  EXPECT_EQ((*text)[1].key, "diffused");
  const auto parameters = json::parse((*text)[1].text);
  EXPECT_EQ(parameters.at("seed"), 3);
  EXPECT_EQ(parameters.at("num_inference_steps"), 8);
  EXPECT_EQ(parameters.at("negative_prompt"), "dogs");
}

TEST_F(Generations, SendRawBytesInTheFormatThatIsAccepted) {
  http::Request request = ApiFixture::request("POST", "/v1/images/generations", R"({"prompt": "x"})");
  for (const auto& [accept, type] :
       {std::pair{"image/png", "image/png"}, std::pair{"image/webp, */*", "image/webp"},
        std::pair{"image/jpeg;q=0.9", "image/jpeg"}, std::pair{"image/*", "image/png"}}) {
    request.headers = {{"content-type", "application/json"}, {"accept", accept}};
    const http::Response response = ask(request);
    EXPECT_EQ(response.content_type, type);
    EXPECT_TRUE(decode_image(*response.body, {}));
  }
  EXPECT_EQ(images.bytes(), 0u);
}

TEST_F(Generations, GiveTheJobItsUserAndItsTime) {
  http::Request request = ApiFixture::request("POST", "/v1/images/generations", R"({"prompt": "x"})");
  ask(request);
  EXPECT_EQ(dispatcher.jobs[0].options.user, "192.0.2.7");
  EXPECT_EQ(dispatcher.jobs[0].options.deadline, clock.now() + api.options.request_timeout);
  EXPECT_EQ(dispatcher.jobs[0].options.previews, 0);
  request.headers.emplace_back("x-request-timeout", "2.5");
  ask(request);
  EXPECT_EQ(dispatcher.jobs[1].options.deadline, clock.now() + std::chrono::milliseconds(2500));
}

TEST_F(Generations, AnswerAFullQueueWithWhenToComeBack) {
  dispatcher.refusal =
      Error{ErrorCode::overloaded, "the queue is full", {}, {}, std::chrono::milliseconds(2500)};
  const http::Response response = generate(R"({"prompt": "x"})");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(header_of(response, "Retry-After"), "3");
  EXPECT_EQ(header_of(response, "retry-after-ms"), "2500");
  EXPECT_EQ(body_of(response).at("error").at("type"), "rate_limit_error");
  EXPECT_EQ(body_of(response).at("error").at("code"), "queue_full");
}

TEST_F(Generations, AnswerAJobThatFailed) {
  dispatcher.failure = Error{ErrorCode::out_of_memory, "too little memory", {}, {}};
  const http::Response response = generate(R"({"prompt": "x"})");
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(header_of(response, "x-should-retry"), "false");
  EXPECT_EQ(body_of(response).at("error").at("code"), "out_of_memory");
}

TEST_F(Generations, SendTheHeadEarlyWhenTheyTakeLong) {
  dispatcher.hold = true;
  api.options.keep_alive = std::chrono::milliseconds(1);
  api.options.early_head = std::chrono::seconds(240);
  dispatcher.on_submit = [&] { clock.advance(241); };
  for (const bool fails : {false, true}) {
    if (fails) dispatcher.failure = Error{ErrorCode::out_of_memory, "too little memory", {}, {}};
    http::FakeExchange exchange(io,
                                request("POST", "/v1/images/generations", R"({"prompt": "x", "seed": 5})"));
    exchange.on_sent = [&](const auto&) {
      if (exchange.sent.size() == 2) asio::post(io, [&] { dispatcher.run(dispatcher.jobs.back()); });
    };
    run(exchange);
    ASSERT_GE(exchange.sent.size(), 3u);
    EXPECT_EQ(exchange.sent[0].data, " ");
    const json::value body = json::parse(exchange.sent.back().data);
    if (fails) {
      EXPECT_EQ(body.at("error").at("code"), "out_of_memory");
    } else {
      EXPECT_EQ(body.at("data").at(0).at("seed"), 5);
    }
    EXPECT_FALSE(exchange.response);
  }
}

TEST_F(Generations, SayNothingBeforeTheBytesOfAPicture) {
  dispatcher.hold = true;
  api.options.keep_alive = std::chrono::milliseconds(1);
  dispatcher.on_submit = [&] {
    clock.advance(1000);
    asio::post(io, [&] { dispatcher.run(dispatcher.jobs.back()); });
  };
  http::Request wanted = request("POST", "/v1/images/generations", R"({"prompt": "x"})");
  wanted.headers.emplace_back("accept", "image/png");
  http::FakeExchange exchange(io, std::move(wanted));
  run(exchange);
  EXPECT_TRUE(exchange.sent.empty());
  ASSERT_TRUE(exchange.response);
  EXPECT_EQ(exchange.response->content_type, "image/png");
}

TEST_F(Generations, AnswerAStoreThatRefuses) {
  storage::MemoryStore tiny(10, clock);
  Api small{api.options, dispatcher, tiny, workers, clock, api.health, api.metrics};
  http::FakeExchange exchange(io, ApiFixture::request("POST", "/", R"({"prompt": "x"})"));
  exchange.run(make_routes(small)[0].handler);
  EXPECT_EQ(exchange.response->status, 413);
}

TEST_F(Generations, CancelTheJobWhenTheClientGoes) {
  dispatcher.hold = true;
  http::FakeExchange exchange(io,
                              ApiFixture::request("POST", "/v1/images/generations", R"({"prompt": "x"})"));
  run(exchange, [&] { exchange.cancel(); });
  ASSERT_EQ(dispatcher.jobs.size(), 1u);
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
  EXPECT_FALSE(exchange.response);
  dispatcher.run(dispatcher.jobs[0]);  // the engine learns of it late: nothing may happen
}

TEST_F(Generations, AnswerInTheOrderOfTheSeedsInWhateverOrderPicturesEnd) {
  const auto response = generate(R"({"prompt": "x", "n": 3, "seed": 7})");
  ASSERT_EQ(response.status, 200);
  const json::value body = body_of(response);
  std::vector<std::int64_t> seeds;
  for (const auto& item : body.at("data").as_array())
    seeds.push_back(item.at("seed").to_number<std::int64_t>());
  EXPECT_EQ(seeds, (std::vector<std::int64_t>{7, 8, 9}));
}

TEST_F(Generations, LeaveAJobAloneThatHasEnded) {
  ASSERT_EQ(generate(R"({"prompt": "x"})").status, 200);
  // The ticket is dropped with the answer, which the engine takes as a cancel of nothing.
  EXPECT_TRUE(*dispatcher.jobs[0].cancelled);
}

TEST_F(Generations, TakeEventsFromAnotherThread) {
  dispatcher.hold = true;
  http::FakeExchange exchange(
      io, ApiFixture::request("POST", "/v1/images/generations", R"({"prompt": "x", "n": 4})"));
  std::jthread engine;
  run(exchange, [&] { engine = std::jthread([this] { dispatcher.run(dispatcher.jobs[0]); }); });
  ASSERT_TRUE(exchange.response);
  EXPECT_EQ(body_of(*exchange.response).at("data").as_array().size(), 4u);
}

TEST_F(Generations, NameTheServedModelsWhenSeveralAreAndNoneFits) {
  dispatcher.served.push_back({"other", {}, 0, small_model_info()});
  const http::Response response = generate(R"({"prompt": "x", "model": "nobody"})");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(body_of(response).at("error").at("code"), "model_not_found");
  EXPECT_EQ(body_of(response).at("error").at("message"),
            "the model \"nobody\" is not served; served are: demo, other");
  EXPECT_EQ(generate(R"({"prompt": "x"})").status, 200);
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "other"})").status, 200);
  EXPECT_EQ(dispatcher.jobs.back().request.model, "other");
}

TEST_F(Generations, FollowThePolicyForUnknownModels) {
  api.options.unknown_model = UnknownModel::reject;
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "nobody"})").status, 404);
  EXPECT_EQ(generate(R"({"prompt": "x"})").status, 200);
  api.options.unknown_model = UnknownModel::serve_default;
  dispatcher.served.push_back({"other", {}, 0, small_model_info()});
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "nobody"})").status, 200);
  EXPECT_EQ(dispatcher.jobs.back().request.model, "demo");
}

TEST_F(Generations, HaveNoModelAnswerInAnothersPlaceWhereServersShareAStore) {
  api.options.unknown_model = UnknownModel::openai;
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "alpha"})").status, 404);
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "alpha", "background_job": true})").status, 404);
  for (const char* name : {"", "dall-e-2", "gpt-image-1", "chatgpt-image-latest"}) {
    const http::Response response =
        generate(json_text(json::object{{"prompt", "x"}, {"model", name}, {"response_format", "url"}}));
    EXPECT_EQ(response.status, 200) << name;
    EXPECT_EQ(body_of(response).at("model"), "demo");
    EXPECT_EQ(header_of(response, "x-diffused-model"), "demo");
  }
  EXPECT_EQ(generate(R"({"prompt": "x"})").status, 200);
}

TEST_F(Generations, NeverTakeAnotherModelForOneThatIsGone) {
  dispatcher.remembered = {"gpt-image-1"};
  for (const auto policy :
       {UnknownModel::automatic, UnknownModel::openai, UnknownModel::serve_default, UnknownModel::reject}) {
    api.options.unknown_model = policy;
    const http::Response response = generate(R"({"prompt": "x", "model": "gpt-image-1"})");
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(body_of(response).at("error").at("code"), "model_not_found");
  }
}

TEST_F(Generations, AskTheDefaultModelWhereNoneIsNamed) {
  dispatcher.served.push_back({"other", {"second"}, 0, small_model_info()});
  api.options.default_model = "second";
  EXPECT_EQ(generate(R"({"prompt": "x"})").status, 200);
  EXPECT_EQ(dispatcher.jobs.back().request.model, "other");
  dispatcher.served.pop_back();
  const http::Response away = generate(R"({"prompt": "x"})");
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(body_of(away).at("error").at("code"), "model_away");
}

TEST_F(Generations, FindANameBeforeAnotherModelsAlias) {
  dispatcher.served.push_back({"dall-e-3", {}, 0, small_model_info()});
  EXPECT_EQ(generate(R"({"prompt": "x", "model": "dall-e-3"})").status, 200);
  EXPECT_EQ(dispatcher.jobs.back().request.model, "dall-e-3");
}

TEST_F(Generations, SayWhenNoModelIsLoadedYet) {
  dispatcher.served.clear();
  const http::Response response = generate(R"({"prompt": "x"})");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(body_of(response).at("error").at("code"), "model_loading");
}

TEST_F(Generations, FollowThePolicyForTheResponseFormat) {
  const auto item = [&](const std::string& body) {
    return body_of(generate(body)).at("data").at(0).as_object();
  };
  api.options.default_response_format = DefaultResponseFormat::b64_json;
  EXPECT_TRUE(item(R"({"prompt": "x"})").contains("b64_json"));
  EXPECT_TRUE(item(R"({"prompt": "x", "response_format": "url"})").contains("url"));
  api.options.default_response_format = DefaultResponseFormat::automatic;
  api.options.b64_model_prefixes = {"own-"};
  EXPECT_TRUE(item(R"({"prompt": "x", "model": "own-model"})").contains("b64_json"));
  EXPECT_TRUE(item(R"({"prompt": "x", "model": "gpt-image-1"})").contains("url"));
  api.options.default_response_format = DefaultResponseFormat::url;
  EXPECT_TRUE(item(R"({"prompt": "x", "model": "gpt-image-1"})").contains("url"));
}

TEST_F(Generations, TellWhereInTheQueueTheyWaited) {
  dispatcher.position = 3;
  const http::Response response = generate(R"({"prompt": "x"})");
  EXPECT_EQ(header_of(response, "x-diffused-queue-position"), "3");
  EXPECT_EQ(header_of(response, "x-diffused-estimated-start-seconds"), "0.250");
  EXPECT_EQ(header_of(response, "x-ratelimit-remaining-requests"), "0");
  EXPECT_EQ(header_of(response, "x-ratelimit-reset-requests"), "0.25s");
  api.options.queue_jobs_max = 10;
  const http::Response roomy = generate(R"({"prompt": "x"})");
  EXPECT_EQ(header_of(roomy, "x-ratelimit-limit-requests"), "10");
  EXPECT_EQ(header_of(roomy, "x-ratelimit-remaining-requests"), "6");
}

TEST_F(Generations, AreUnavailableInHealthWhenTheServerIsNotReady) {
  ready = false;
  EXPECT_EQ(ask("GET", "/health").status, 503);
  EXPECT_EQ(ask("GET", "/livez").status, 200);
}

TEST_F(Generations, HaveNoMetricsWithoutASource) {
  api.metrics = nullptr;
  EXPECT_EQ(ask("GET", "/metrics").status, 404);
}

}  // namespace
}  // namespace diffused::api
