#include "api/fixture.h"
#include "api/sampler_names.h"
#include "api/sdapi/board.h"
#include "api/sdapi/infotext.h"
#include "api/sdapi/sd_request.h"
#include "image/base64.h"
#include "image/png.h"

namespace diffused::api {
namespace {

std::string plain_png(int width, int height, std::uint8_t shade = 50) {
  return find_codec("png")->encode(plain_image(width, height, shade), {}).value();
}

class Sdapi : public testing::Test, public ApiFixture {
 protected:
  http::Response text(const std::string& body) { return ask("POST", "/sdapi/v1/txt2img", body); }
  http::Response image(const std::string& more, int width = 32, int height = 32) {
    return ask("POST", "/sdapi/v1/img2img",
               R"({"prompt": "x", "init_images": ["data:image/png;base64,)" +
                   to_base64(plain_png(width, height)) + "\"]" + more + "}");
  }
  static json::value info_of(const http::Response& response) {
    return json::parse(body_of(response).at("info").as_string());
  }
  static std::string image_of(const http::Response& response, std::size_t index = 0) {
    return from_base64(std::string(body_of(response).at("images").at(index).as_string())).value();
  }
  const GenerateRequest& job() const { return dispatcher.jobs.back().request; }
};

TEST_F(Sdapi, TellsWhatWasMadeTheWayClientsReadIt) {
  const auto response = text(R"({"prompt": "a kitten <lora:cute:0.7>", "negative_prompt": "dogs", "seed": 5,
      "batch_size": 2, "steps": 3, "cfg_scale": 4.5, "width": 70, "height": 45, "sampler_name": "k_heun", "clip_skip": 2})");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().prompt, "a kitten ");
  EXPECT_EQ(job().seeds, (std::vector<std::uint64_t>{5, 6}));
  EXPECT_EQ(job().width, 64);
  EXPECT_EQ(job().height, 32);
  EXPECT_EQ(job().scheduler, "FlowMatchHeunDiscreteScheduler");
  EXPECT_EQ(job().clip_skip, 1);
  EXPECT_FALSE(job().strength);
  const json::value info = info_of(response);
  EXPECT_EQ(info.at("seed"), 5);
  EXPECT_EQ(info.at("all_seeds"), (json::array{5, 6}));
  EXPECT_EQ(info.at("width"), 64);
  EXPECT_EQ(info.at("sampler_name"), "Heun");
  EXPECT_EQ(info.at("sd_model_name"), "demo");
  EXPECT_EQ(info.at("all_negative_prompts"), (json::array{"dogs", "dogs"}));
  const std::string expected =
      "a kitten <lora:cute:0.7>\nNegative prompt: dogs\nSteps: 3, Sampler: Heun, Schedule type: Automatic, "
      "CFG scale: 4.5, "
      "Seed: 5, Size: 64x32, "
      "Model: demo, "
      "Clip skip: 1, Version: diffused 0.0";
  EXPECT_EQ(info.at("infotexts").at(0), json::value(expected));
  const auto chunks = read_png_text(image_of(response)).value();
  EXPECT_EQ(chunks.at(0).text, expected);
}

TEST_F(Sdapi, RemembersEachUsersCheckpoint) {
  dispatcher.served.push_back({"other", {}, 0, small_model_info()});
  const auto choose = [&](const std::string& peer, const std::string& checkpoint) {
    http::Request wanted =
        request("POST", "/sdapi/v1/options", "{\"sd_model_checkpoint\": \"" + checkpoint + "\"}");
    wanted.peer = peer;
    const auto response = ask(std::move(wanted));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(*response.body, "null");
  };
  choose("192.0.2.7", "other");
  choose("192.0.2.8", "demo");
  EXPECT_EQ(body_of(ask("GET", "/sdapi/v1/options")).at("sd_model_checkpoint"), "other");
  ASSERT_EQ(text(R"({"prompt": "x"})").status, 200);
  EXPECT_EQ(job().model, "other");
  ASSERT_EQ(text(R"({"prompt": "x", "override_settings": {"sd_model_checkpoint": "demo"}})").status, 200);
  EXPECT_EQ(job().model, "demo");
  ASSERT_EQ(text(R"({"prompt": "x", "model": "demo"})").status, 200);
  EXPECT_EQ(job().model, "demo");
  EXPECT_EQ(text(R"({"prompt": "x", "model": "third"})").status, 404);
}

TEST_F(Sdapi, StartsFromAPictureAndAMaskWhoseWhiteIsRepainted) {
  ASSERT_EQ(image("", 70, 45).status, 200);
  EXPECT_EQ(job().width, 64);
  EXPECT_EQ(job().height, 32);
  EXPECT_EQ(job().strength, 0.75);
  ASSERT_TRUE(job().init_image);
  EXPECT_EQ(job().init_image->width, 64);
  EXPECT_FALSE(job().mask);
  const std::string mask = ", \"mask\": \"" + to_base64(plain_png(16, 16, 255)) + "\"";
  const auto response = image(mask + R"(, "width": 48, "height": 48, "denoising_strength": 0.25)");
  ASSERT_EQ(response.status, 200) << *response.body;
  ASSERT_TRUE(job().mask);
  EXPECT_EQ(job().mask->width, 48);
  EXPECT_EQ(job().mask->channels, 1);
  EXPECT_EQ(job().mask->pixels[0], 255);
  EXPECT_EQ(job().strength, 0.25);
  EXPECT_EQ(body_of(response).at("parameters").at("init_images"), nullptr);
  ASSERT_EQ(image(mask + R"(, "inpainting_mask_invert": 1)").status, 200);
  EXPECT_EQ(job().mask->pixels[0], 0);
}

TEST_F(Sdapi, FitsAPictureOfOtherProportionsAsAsked) {
  const auto first_pixel = [&](const std::string& mode) -> int {
    Image picture = plain_image(64, 32, 50);
    picture.pixels[0] = picture.pixels[1] = picture.pixels[2] = 250;
    const std::string bytes = find_codec("png")->encode(picture, {}).value();
    EXPECT_EQ(ask("POST", "/sdapi/v1/img2img",
                  R"({"prompt": "x", "width": 32, "height": 32, "resize_mode": )" + mode +
                      R"(, "init_images": [")" + to_base64(bytes) + "\"]}")
                  .status,
              200);
    EXPECT_EQ(job().init_image->width, 32);
    return job().init_image->pixels[0];
  };
  EXPECT_GT(first_pixel("0"), 60);  // the corner, shrunk
  EXPECT_EQ(first_pixel("1"), 50);  // it is cut off
  EXPECT_GT(first_pixel("2"), 60);  // it is drawn out to the top
  EXPECT_EQ(first_pixel("0"), first_pixel("3"));
  EXPECT_EQ(image(R"(, "resize_mode": 4)").status, 400);
}

TEST_F(Sdapi, ShowsTheNewPictureWhereItIsMaskedAndTheOldOneElsewhere) {
  // The right half is light. The old picture is of shade 50, what is made of it of shade 200.
  Image mask{64, 64, 1, std::vector<std::uint8_t>(64 * 64, 0)};
  for (std::size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = i % 64 < 32 ? 0 : 255;
  const std::string masked = ", \"mask\": \"" + to_base64(find_codec("png")->encode(mask, {}).value()) + "\"";
  const auto shades = [&](const std::string& more) {
    const auto response = image(masked + more, 64, 64);
    EXPECT_EQ(response.status, 200) << *response.body;
    const Image made = decode_image(image_of(response), {}).value();
    EXPECT_EQ(made.width, 64);
    std::vector<int> row;
    for (int x = 0; x < 64; ++x) row.push_back(made.pixels[made.stride() * 32 + x * 3]);
    return row;
  };
  for (const std::string part : {"0", "1"}) {
    const auto hard = shades(R"(, "mask_blur": 0, "inpaint_full_res": )" + part);
    EXPECT_EQ(std::count(hard.begin(), hard.begin() + 32, 50), 32) << part;
    EXPECT_EQ(std::count(hard.begin() + 32, hard.end(), 200), 32) << part;
    const auto soft = shades(R"(, "inpaint_full_res": )" + part);
    EXPECT_EQ(soft.front(), 50);
    EXPECT_EQ(soft.back(), 200);
    EXPECT_TRUE(std::ranges::is_sorted(soft));
    EXPECT_GT(std::ranges::count_if(soft, [](int shade) { return shade > 50 && shade < 200; }), 3) << part;
  }
}

TEST_F(Sdapi, MakesOnlyTheMaskedPartInFullSize) {
  Image mask{64, 64, 1, std::vector<std::uint8_t>(64 * 64, 0)};
  mask.pixels[20 * 64 + 40] = 255;
  const std::string masked =
      ", \"mask_blur\": 0, \"mask\": \"" + to_base64(find_codec("png")->encode(mask, {}).value()) + "\"";
  const auto response = image(
      masked + R"(, "inpaint_full_res": true, "inpaint_full_res_padding": 3, "width": 48, "height": 48)", 64,
      64);
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().width, 48);
  EXPECT_EQ(job().init_image->width, 48);
  // One light pixel of seven has become seven of 48.
  EXPECT_GE(std::ranges::count_if(job().mask->pixels, [](int light) { return light >= 128; }), 36);
  EXPECT_LE(std::ranges::count_if(job().mask->pixels, [](int light) { return light >= 128; }), 64);
  const Image made = decode_image(image_of(response), {}).value();
  ASSERT_EQ(made.width, 64);
  EXPECT_EQ(made.pixels[made.stride() * 20 + 40 * 3], 200);
  EXPECT_EQ(std::ranges::count(made.pixels, 50), 64 * 64 * 3 - 3);
}

TEST_F(Sdapi, SpacesTheStepsAsAsked) {
  dispatcher.served[0].info.schedulers.push_back("FlowMatchEulerDiscreteScheduler:karras");
  ASSERT_EQ(text(R"({"prompt": "x", "sampler_name": "Euler", "scheduler": "Karras"})").status, 200);
  EXPECT_EQ(job().scheduler, "FlowMatchEulerDiscreteScheduler:karras");
  const auto response = text(R"({"prompt": "x", "scheduler": "karras"})");
  EXPECT_EQ(job().scheduler, "FlowMatchEulerDiscreteScheduler:karras");
  EXPECT_EQ(info_of(response).at("sampler_name"), "Euler");
  EXPECT_NE(std::string(info_of(response).at("infotexts").at(0).as_string()).find("Schedule type: Karras"),
            std::string::npos);
  for (const char* without : {"Automatic", "Exponential", "SGM Uniform", ""}) {
    ASSERT_EQ(
        text(R"({"prompt": "x", "sampler_name": "Euler", "scheduler": ")" + std::string(without) + "\"}")
            .status,
        200);
    EXPECT_EQ(job().scheduler, "FlowMatchEulerDiscreteScheduler") << without;
  }
  const auto schedulers = body_of(ask("GET", "/sdapi/v1/schedulers")).as_array();
  ASSERT_EQ(schedulers.size(), 2u);
  EXPECT_EQ(schedulers[1].at("label"), "Karras");
}

TEST_F(Sdapi, MakesTheSecondPassFromTheFirstOnesPicture) {
  const auto response =
      text(R"({"prompt": "x", "width": 64, "height": 32, "seed": 8, "n_iter": 2, "enable_hr": true,
      "hr_scale": 1.5, "hr_second_pass_steps": 2, "denoising_strength": 0.4})");
  ASSERT_EQ(response.status, 200) << *response.body;
  ASSERT_EQ(dispatcher.jobs.size(), 3u);
  EXPECT_FALSE(dispatcher.jobs[0].request.init_image);
  EXPECT_EQ(job().width, 96);
  EXPECT_EQ(job().height, 48);
  EXPECT_EQ(job().seeds, std::vector<std::uint64_t>{9});
  EXPECT_EQ(job().strength, 0.4);
  EXPECT_EQ(job().num_inference_steps, 2);
  EXPECT_EQ(job().init_image->pixels[0], 200);
  EXPECT_EQ(decode_image(image_of(response, 1), {})->width, 96);
  EXPECT_EQ(info_of(response).at("width"), 96);
}

TEST_F(Sdapi, AnswersAnInterruptWithThePicturesSoFar) {
  dispatcher.hold = true;
  dispatcher.on_submit = [&] {
    asio::post(io, [&] {
      const FakeDispatcher::Job& job = dispatcher.jobs.back();
      job.sink(ImageReady{0, 7, plain_image(64, 64, 9)});
      api.sd_board->interrupt("192.0.2.7");
      asio::post(io, [&] {
        EXPECT_TRUE(*job.cancelled);
        job.sink(JobFailed{Error{ErrorCode::cancelled, "cancelled", {}, {}}});
      });
    });
  };
  const auto response = text(R"({"prompt": "x", "n_iter": 2})");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(body_of(response).at("images").as_array().size(), 1u);
  EXPECT_EQ(info_of(response).at("all_seeds"), json::array{7});
  EXPECT_EQ(api.sd_board->progress("192.0.2.7").jobs, 0u);
}

TEST_F(Sdapi, ShowsARunningGenerationToItsUser) {
  dispatcher.hold = true;
  // Looks at the board until the events have got there, for at most so many turns. Not at the route: a second
  // exchange cannot run while this one has the thread.
  std::function<void(int)> look = [&](int turns) {
    const SdProgress progress = api.sd_board->progress("192.0.2.7");
    if (!progress.preview && turns > 0) return asio::post(io, [&look, turns] { look(turns - 1); });
    EXPECT_EQ(progress.progress, 0.25);
    EXPECT_TRUE(progress.preview);
    EXPECT_EQ(api.sd_board->progress("192.0.2.8").jobs, 0u);
    dispatcher.run(dispatcher.jobs.back());
  };
  dispatcher.on_submit = [&] {
    asio::post(io, [&] {
      const FakeDispatcher::Job& job = dispatcher.jobs.back();
      EXPECT_TRUE(job.options.step_events);
      EXPECT_GT(job.options.previews, 0);
      job.sink(StepDone{0, 1, 4});
      job.sink(PreviewReady{0, 1, plain_image(8, 4, 9)});
      clock.advance(10);
    });
    look(100);
  };
  EXPECT_EQ(text(R"({"prompt": "x"})").status, 200);
}

TEST_F(Sdapi, AnswersForProgressWithAPictureAndATimeLeft) {
  SdBoard::Run run(*api.sd_board, "192.0.2.7", 1, clock.unix_seconds());
  run.take(StepDone{0, 1, 4}, 0);
  run.take(PreviewReady{0, 1, plain_image(8, 4, 9)}, 0);
  clock.advance(10);
  const json::value progress = body_of(ask("GET", "/sdapi/v1/progress"));
  EXPECT_EQ(progress.at("progress"), 0.25);
  EXPECT_EQ(progress.at("eta_relative").to_number<double>(), 30);
  EXPECT_EQ(progress.at("state").at("job_count"), 1);
  EXPECT_EQ(progress.at("state").at("sampling_steps"), 4);
  EXPECT_EQ(progress.at("state").at("job_timestamp"), "20231114221320");
  const auto preview = from_base64(std::string(progress.at("current_image").as_string()));
  EXPECT_EQ(decode_image(*preview, {})->width, 8);
  EXPECT_EQ(body_of(ask("GET", "/sdapi/v1/progress?skip_current_image=true")).at("current_image"), nullptr);
}

TEST(SdBoard, TellsEachUserOfTheirOwnOldestGeneration) {
  SdBoard board;
  EXPECT_EQ(board.progress("anna").jobs, 0u);
  auto first = std::make_unique<SdBoard::Run>(board, "anna", 2, 100);
  auto second = std::make_unique<SdBoard::Run>(board, "anna", 1, 101);
  const SdBoard::Run other(board, "berta", 1, 102);
  first->take(StepDone{0, 3, 4}, 0);
  first->take(StepDone{1, 1, 4}, 0);
  first->take(PreviewReady{0, 3, plain_image(8, 8, 1)}, 0);
  SdProgress progress = board.progress("anna");
  EXPECT_EQ(progress.jobs, 2u);
  EXPECT_EQ(progress.progress, 0.5);
  EXPECT_EQ(progress.step, 3);
  EXPECT_EQ(progress.steps, 4);
  EXPECT_EQ(progress.started, 100);
  EXPECT_EQ(progress.preview->width, 8);
  first->take(ImageReady{0, 1, {}}, 0);
  progress = board.progress("anna");
  EXPECT_EQ(progress.progress, 0.625);
  EXPECT_EQ(progress.step, 1);
  EXPECT_EQ(progress.images_done, 1u);
  EXPECT_FALSE(board.progress("berta").preview);
  first.reset();
  EXPECT_EQ(board.progress("anna").started, 101);
  second.reset();
  EXPECT_EQ(board.progress("anna").jobs, 0u);
}

TEST(SdBoard, InterruptsAUsersGenerationsAndNobodyElses) {
  SdBoard board;
  SdBoard::Run mine(board, "anna", 1, 0), late(board, "anna", 1, 0), other(board, "berta", 1, 0);
  int cancelled = 0;
  mine.set_cancel([&] { ++cancelled; });
  other.set_cancel([&] { cancelled += 100; });
  board.interrupt("anna");
  EXPECT_EQ(cancelled, 1);
  board.interrupt("anna");
  EXPECT_EQ(cancelled, 1);
  // A job that begins after its generation was interrupted ends at once.
  late.set_cancel([&] { ++cancelled; });
  EXPECT_EQ(cancelled, 2);
  EXPECT_TRUE(mine.interrupted());
  EXPECT_FALSE(other.interrupted());
}

TEST(SdBoard, ForgetsTheChoicesMadeLongAgo) {
  SdBoard board;
  board.choose("first", "a");
  for (int i = 0; i < 999; ++i) board.choose("user" + std::to_string(i), "b");
  EXPECT_EQ(board.checkpoint("first"), "a");
  board.choose("one more", "c");
  EXPECT_EQ(board.checkpoint("first"), "");
  EXPECT_EQ(board.checkpoint("user0"), "b");
}

TEST_F(Sdapi, ReadsBackTheParametersOfAPicture) {
  const auto made = text(R"({"prompt": "a, b: c\nd", "negative_prompt": "e", "seed": 5, "steps": 3})");
  const auto found =
      body_of(ask("POST", "/sdapi/v1/png-info", R"({"image": ")" + to_base64(image_of(made)) + "\"}"));
  EXPECT_EQ(found.at("info"), info_of(made).at("infotexts").at(0));
  EXPECT_EQ(found.at("items").at("parameters"), found.at("info"));
  const json::object expected{
      {"Prompt", "a, b: c\nd"}, {"Negative prompt", "e"}, {"Steps", "3"},   {"Seed", "5"},
      {"Size-1", "64"},         {"Size-2", "64"},         {"Model", "demo"}};
  for (const auto& member : expected) EXPECT_EQ(found.at("parameters").at(member.key()), member.value());
}

TEST(Infotext, IsReadWhateverItLooksLike) {
  const auto read = [](std::string_view text, std::string_view key) {
    const json::object settings = parse_infotext(text);
    const auto* value = settings.if_contains({key.data(), key.size()});
    return value ? std::string(value->get_string()) : std::string("(none)");
  };
  EXPECT_EQ(read("", "Prompt"), "");
  EXPECT_EQ(read("just words", "Prompt"), "just words");
  EXPECT_EQ(read("Steps: 3, Size: 1x", "Size"), "1x");
  EXPECT_EQ(read("Steps: 3", "Prompt"), "");
  EXPECT_EQ(read("x\nSteps: 20, Note: \"a, b: c\", Seed: 1", "Note"), "\"a, b: c\"");
  EXPECT_EQ(read("x\nSteps: 20, Note: \"a, Seed: 1", "Seed"), "(none)");
  EXPECT_EQ(read("Negative prompt: n\nSteps: 1", "Negative prompt"), "n");
  EXPECT_EQ(read("Negative prompt:", "Prompt"), "Negative prompt:");
  EXPECT_EQ(read("x\nSteps: ,,:,", "Prompt"), "x");
}

TEST(SamplerNames, FindWhatTheModelHasUnderAnyOfItsNames) {
  PipelineInfo model = small_model_info();
  for (const char* name :
       {"Euler", "euler", "k_euler", "FlowMatchEulerDiscreteScheduler", "flow_match_euler"})
    EXPECT_EQ(find_sampler(model, name), "FlowMatchEulerDiscreteScheduler") << name;
  for (const char* name : {"Euler a", "DPM++ 2M", "", "FlowMatch"})
    EXPECT_EQ(find_sampler(model, name), "") << name;
  model.schedulers.push_back("DPMSolverMultistepScheduler");
  for (const char* name : {"DPM++ 2M", "dpm++_2m", "dpmpp_2m", "k_dpmpp_2m"})
    EXPECT_EQ(find_sampler(model, name), "DPMSolverMultistepScheduler") << name;
  EXPECT_EQ(sampler_label("DPMSolverMultistepScheduler"), "DPM++ 2M");
  EXPECT_EQ(sampler_label("SomethingElse"), "SomethingElse");
}

TEST(SamplerNames, TellASpacingFromItsSampler) {
  PipelineInfo model = small_model_info();
  const std::string karras = "FlowMatchEulerDiscreteScheduler:karras";
  EXPECT_EQ(find_sampler(model, "Euler Karras"), "");
  model.schedulers.push_back(karras);
  for (const char* name : {"Euler Karras", "k_euler_karras", "FlowMatchEulerDiscreteScheduler:Karras"})
    EXPECT_EQ(find_sampler(model, name), karras) << name;
  for (const char* name : {"Karras", "Euler Beta", "Heun Karras"})
    EXPECT_EQ(find_sampler(model, name), "") << name;
  EXPECT_EQ(with_spacing(model, "FlowMatchEulerDiscreteScheduler", "Karras"), karras);
  EXPECT_EQ(with_spacing(model, "FlowMatchHeunDiscreteScheduler", "Karras"), "");
  EXPECT_EQ(sampler_label(karras), "Euler");
  EXPECT_EQ(spacing_label(karras), "Karras");
  EXPECT_EQ(spacing_label("FlowMatchEulerDiscreteScheduler"), "Automatic");
  EXPECT_EQ(spacing_label(""), "Automatic");
}

}  // namespace
}  // namespace diffused::api
