#include "api/fixture.h"
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
      "Clip skip: 2, Version: diffused 0.0";
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

// A mask of which the right half is drawn upon a transparent canvas.
TEST_F(Sdapi, TakesWhatIsDrawnForTheMaskWhateverItsColours) {
  const auto repainted = [&](std::uint8_t canvas, std::uint8_t stroke, std::uint8_t alpha,
                             const std::string& more) {
    Image mask{64, 64, 4, {}};
    for (int i = 0; i < 64 * 64; ++i) {
      const bool drawn = i % 64 >= 32;
      const std::uint8_t shade = drawn ? stroke : canvas;
      mask.pixels.insert(mask.pixels.end(), {shade, shade, shade, drawn ? alpha : std::uint8_t(0)});
    }
    const std::string text = to_base64(find_codec("png")->encode(mask, {}).value());
    EXPECT_EQ(
        image(R"(, "mask_blur": 0, "inpaint_full_res": 0, "mask": ")" + text + "\"" + more, 64, 64).status,
        200);
    return std::pair<int, int>(job().mask->pixels.front(), job().mask->pixels.back());
  };
  EXPECT_EQ(repainted(0, 255, 255, ""), std::pair(0, 255));
  EXPECT_EQ(repainted(0, 0, 255, ""), std::pair(0, 255));
  EXPECT_EQ(repainted(255, 0, 129, ""), std::pair(0, 255));
  EXPECT_EQ(repainted(255, 255, 128, ""), std::pair(0, 0));
  EXPECT_EQ(repainted(255, 255, 128, R"(, "mask_round": false)"), std::pair(0, 128));
  EXPECT_EQ(repainted(0, 255, 255, R"(, "inpainting_mask_invert": "1")"), std::pair(255, 0));
}

TEST_F(Sdapi, LaysATransparentPictureOnPaper) {
  const std::string hidden = to_base64(
      find_codec("png")->encode(Image{32, 32, 4, std::vector<std::uint8_t>(32 * 32 * 4, 0)}, {}).value());
  const auto first = [&](const std::string& more) {
    const auto response = ask("POST", "/sdapi/v1/img2img",
                              R"({"prompt": "x", "init_images": [")" + hidden + "\"]" + more + "}");
    EXPECT_EQ(response.status, 200) << *response.body;
    EXPECT_EQ(job().init_image->channels, 3);
    return std::vector<int>(job().init_image->pixels.begin(), job().init_image->pixels.begin() + 3);
  };
  EXPECT_EQ(first(""), (std::vector<int>{255, 255, 255}));
  EXPECT_EQ(first(R"(, "override_settings": {"img2img_background_color": "#10fF03"})"),
            (std::vector<int>{16, 255, 3}));
  EXPECT_EQ(first(R"(, "mask": ")" + to_base64(plain_png(8, 8, 255)) + "\""),
            (std::vector<int>{255, 255, 255}));
  EXPECT_EQ(image(R"(, "override_settings": {"img2img_background_color": "white"})").status, 400);
}

TEST_F(Sdapi, MakesABatchOfSeveralPictures) {
  const auto start = [](std::uint8_t shade) { return "\"" + to_base64(plain_png(32, 32, shade)) + "\""; };
  const std::string two = "[" + start(10) + ", " + start(20) + "]";
  const auto ask_for = [&](const std::string& more) {
    return ask("POST", "/sdapi/v1/img2img",
               R"({"prompt": "x", "seed": 5, "init_images": )" + two + more + "}");
  };
  const auto response = ask_for(R"(, "batch_size": 2, "n_iter": 2)");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(info_of(response).at("all_seeds"), (json::array{5, 6, 7, 8}));
  ASSERT_EQ(dispatcher.jobs.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    const GenerateRequest& made = dispatcher.jobs[i].request;
    EXPECT_EQ(made.seeds, (std::vector<std::uint64_t>{5 + i, 7 + i}));
    EXPECT_EQ(made.init_image->pixels[0], 10 * (i + 1));
  }
  // The batch has as many as there are pictures.
  EXPECT_EQ(body_of(ask_for(R"(, "batch_size": 4)")).at("images").as_array().size(), 2u);
  EXPECT_EQ(ask_for(R"(, "batch_size": 1)").status, 400);
  // Each keeps its own where the mask keeps it.
  const auto masked =
      ask_for(R"(, "batch_size": 2, "mask_blur": 0, "mask": ")" + to_base64(plain_png(32, 32, 0)) + "\"");
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(decode_image(image_of(masked, i), {})->pixels[0], 10 * (i + 1));
}

TEST_F(Sdapi, ReadsTheWeightsAndNamesOfTags) {
  dispatcher.served[0].info.loras = {"ink", "style/paper", "style/wet", "wild/wet"};
  const auto loras = [&](const std::string& prompt) {
    const auto response = text(R"({"prompt": ")" + prompt + "\"}");
    EXPECT_EQ(response.status, 200) << *response.body;
    return job().loras;
  };
  auto both = loras("x<lora:ink:0.25:0.5>");
  ASSERT_EQ(both.size(), 1u);
  EXPECT_EQ(both[0].weight, 0.5);
  EXPECT_EQ(both[0].text_weight, 0.25);
  EXPECT_EQ(loras("x<lora:ink:1:1>")[0].text_weight, std::nullopt);
  EXPECT_EQ(loras("x<lora:ink:unet=0.5>")[0].text_weight, 1);
  EXPECT_EQ(loras("x<lora:ink:te=0.5>")[0].weight, 0.5);
  EXPECT_EQ(loras("x<lora:ink: +2 >")[0].weight, 2);
  EXPECT_EQ(loras("x<lora:paper:1>")[0].name, "style/paper");
  EXPECT_EQ(loras("x<lora:wild/wet.safetensors>")[0].name, "wild/wet");
  EXPECT_EQ(body_of(text(R"({"prompt": "x<lora:wet:1>"})")).at("detail"),
            "several LoRAs are called \"wet\": style/wet, wild/wet");
  for (const char* wrong : {"<lora:ink:>", "<lora::1>", "<lora:ink:1:x>", "<lora:ink:te=>", "<lora:ink:nan>",
                            "<lora:ink:++1>", "<lora:ink:11>"}) {
    const auto without = text(R"({"prompt": "x)" + std::string(wrong) + "\"}");
    EXPECT_EQ(without.status, 200) << wrong;
    EXPECT_TRUE(job().loras.empty()) << wrong;
    EXPECT_EQ(body_of(without).at("warnings").as_array().size(), 1u) << wrong;
  }
  // The text names both, so that the picture can be made again.
  const auto made = text(R"({"prompt": "x<lora:ink:0.25:0.5>"})");
  EXPECT_EQ(std::string(info_of(made).at("infotexts").at(0).as_string()).find("x<lora:ink:0.25:0.5>\n"), 0u);
}

TEST_F(Sdapi, RefusesWhatItCannotDoWhenItIsStrict) {
  api.options.limits.strict = true;
  for (const char* more :
       {R"("sampler_name": "DPM adaptive")", R"("tiling": true)", R"("prompt": "<lora:no:1>")"})
    EXPECT_EQ(text("{" + std::string(more) + "}").status, 400) << more;
  EXPECT_EQ(text(R"({"prompt": "x", "sampler_name": "Heun"})").status, 200);
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
    const auto plain =
        text(R"({"prompt": "x", "sampler_name": "Euler", "scheduler": ")" + std::string(without) + "\"}");
    ASSERT_EQ(plain.status, 200);
    EXPECT_EQ(job().scheduler, "FlowMatchEulerDiscreteScheduler") << without;
    const bool known = std::string(without).empty() || std::string(without) == "Automatic";
    EXPECT_EQ(body_of(plain).as_object().contains("warnings"), !known) << without;
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
  // The text says how to make it again: the first pass, and what A1111 says of the second.
  EXPECT_EQ(info_of(response).at("width"), 64);
  const std::string text = read_png_text(image_of(response, 1)).value().at(0).text;
  EXPECT_NE(text.find("Seed: 9, Size: 64x32, Model: demo, Denoising strength: 0.4, Hires upscale: 1.5, "
                      "Hires steps: 2, Hires upscaler: Lanczos, Version"),
            std::string::npos)
      << text;
}

// What a second pass makes of a 64x32 picture.
TEST_F(Sdapi, EnlargesInProportionUnlessBothSidesAreGiven) {
  const auto size = [&](const std::string& more) {
    EXPECT_EQ(text(R"({"prompt": "x", "width": 64, "height": 32, "enable_hr": true)" + more + "}").status,
              200);
    return std::pair(*job().width, *job().height);
  };
  EXPECT_EQ(size(""), std::pair(128, 64));
  EXPECT_EQ(size(R"(, "hr_resize_x": 192)"), std::pair(192, 96));
  EXPECT_EQ(size(R"(, "hr_resize_y": 48)"), std::pair(96, 48));
  EXPECT_EQ(size(R"(, "hr_resize_x": 192, "hr_scale": 3, "hr_resize_y": 0)"), std::pair(192, 96));
  EXPECT_EQ(size(R"(, "hr_resize_x": 100)"), std::pair(96, 48));
  EXPECT_EQ(size(R"(, "hr_resize_x": 96, "hr_resize_y": 96)"), std::pair(96, 96));
}

TEST_F(Sdapi, AnswersAnInterruptWithWhatThereIs) {
  dispatcher.hold = true;
  dispatcher.on_submit = [&] {
    asio::post(io, [&] {
      const FakeDispatcher::Job& job = dispatcher.jobs.back();
      job.sink(ImageReady{0, 7, plain_image(64, 64, 9)});
      api.sd_board->interrupt("192.0.2.7");
      asio::post(io, [&] {
        EXPECT_FALSE(*job.cancelled);
        EXPECT_EQ(*job.finish_below, 2u);
        job.sink(ImageReady{1, 8, plain_image(64, 64, 10)});
        job.sink(JobDone{});
      });
    });
  };
  const auto response = text(R"({"prompt": "x", "n_iter": 2})");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(body_of(response).at("images").as_array().size(), 2u);
  EXPECT_EQ(info_of(response).at("all_seeds"), (json::array{7, 8}));
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
  SdBoard::Run run(*api.sd_board, "192.0.2.7", 1, 1, clock.unix_seconds());
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

TEST_F(Sdapi, WritesTheFormatAsked) {
  const auto begins = [](const http::Response& response) {
    EXPECT_EQ(response.status, 200) << *response.body;
    const std::string bytes = image_of(response);
    EXPECT_EQ(body_of(response).at("images").as_array().size(), 1u);
    for (const Codec& codec : codecs())
      if (codec.recognizes(bytes)) return std::string(codec.name);
    return std::string();
  };
  EXPECT_EQ(begins(text(R"({"prompt": "x", "override_settings": {"samples_format": "jpg"}})")), "jpeg");
  EXPECT_EQ(
      begins(text(R"({"prompt": "x", "override_settings": {"samples_format": "webp", "jpeg_quality": 50}})")),
      "webp");
  EXPECT_EQ(begins(text(R"({"prompt": "x"})")), "png");
  ASSERT_EQ(ask("POST", "/sdapi/v1/options", R"({"samples_format": "jpg"})").status, 200);
  const auto made = text(R"({"prompt": "a, b", "seed": 5})");
  EXPECT_EQ(begins(made), "jpeg");
  EXPECT_EQ(begins(text(R"({"prompt": "x", "override_settings": {"samples_format": "png"}})")), "png");
  EXPECT_EQ(body_of(ask("GET", "/sdapi/v1/options")).at("samples_format"), "jpg");
  // The parameters travel in it too.
  const auto found =
      body_of(ask("POST", "/sdapi/v1/png-info", R"({"image": ")" + to_base64(image_of(made)) + "\"}"));
  EXPECT_EQ(found.at("info"), info_of(made).at("infotexts").at(0));
  EXPECT_EQ(found.at("parameters").at("Seed"), "5");
}

TEST_F(Sdapi, VariesOneSeed) {
  const auto response = text(
      R"({"prompt": "x", "seed": 5, "batch_size": 2, "subseed": 8, "subseed_strength": 0.25, "width": 64, "height": 64})");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().seeds, (std::vector<std::uint64_t>{5, 5}));
  EXPECT_EQ(job().variation_seeds, (std::vector<std::uint64_t>{8, 9}));
  EXPECT_EQ(job().variation_strength, 0.25);
  const json::value info = info_of(response);
  EXPECT_EQ(info.at("all_seeds"), (json::array{5, 5}));
  EXPECT_EQ(info.at("all_subseeds"), (json::array{8, 9}));
  EXPECT_EQ(info.at("subseed_strength").to_number<double>(), 0.25);
  const std::string second(info.at("infotexts").at(1).as_string());
  EXPECT_NE(second.find(", Variation seed: 9, Variation seed strength: 0.25, "), std::string::npos) << second;
  ASSERT_EQ(text(R"({"prompt": "x", "subseed": 8, "subseed_strength": 0, "batch_size": 2})").status, 200);
  EXPECT_TRUE(job().variation_seeds.empty());
  EXPECT_NE(job().seeds[0], job().seeds[1]);
  ASSERT_EQ(text(R"({"prompt": "x", "subseed": -1, "subseed_strength": 1})").status, 200);
  EXPECT_EQ(job().variation_seeds.size(), 1u);
}

TEST_F(Sdapi, ReadsPromptsAsTheServerIsToldTo) {
  ASSERT_EQ(text(R"({"prompt": "x"})").status, 200);
  EXPECT_FALSE(job().prompt_syntax);
  api.options.sd_prompt_syntax = "a1111";
  ASSERT_EQ(text(R"({"prompt": "x"})").status, 200);
  EXPECT_EQ(job().prompt_syntax, "a1111");
  ASSERT_EQ(text(R"({"prompt": "x", "prompt_syntax": "diffusers"})").status, 200);
  EXPECT_EQ(job().prompt_syntax, "diffusers");
  ASSERT_EQ(ask("POST", "/v1/images/generations", R"({"prompt": "x"})").status, 200);
  EXPECT_FALSE(job().prompt_syntax);
}

TEST_F(Sdapi, PutsPromptsIntoStyles) {
  api.options.sd_styles = {{"ink", "ink drawing of {prompt}, {prompt}!", "photo"},
                           {"wet", "rain <lora:ink:1>", ""}};
  const auto response =
      text(R"({"prompt": "a cat ", "negative_prompt": "dogs", "styles": ["ink", "wet", "nothing"]})");
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().prompt, "ink drawing of a cat , a cat !, rain ");
  EXPECT_EQ(job().negative_prompt, "dogs, photo");
  EXPECT_EQ(job().loras.size(), 1u);
  EXPECT_EQ(info_of(response).at("styles"), (json::array{"ink", "wet", "nothing"}));
  EXPECT_EQ(body_of(response).at("warnings"), (json::array{"there is no style \"nothing\""}));
  EXPECT_EQ(body_of(ask("GET", "/sdapi/v1/prompt-styles")).at(1).at("prompt"), "rain <lora:ink:1>");
  EXPECT_EQ(text(R"({"prompt": "x", "styles": [1]})").status, 400);
}

TEST_F(Sdapi, ChargesForWhatItStartsFromAndEnlarges) {
  api.memory = std::make_shared<MemoryBudget>(8 << 20);
  const auto charged = [&](const std::string& route, const std::string& body) {
    http::Request wanted = request("POST", "/sdapi/v1/" + route, body);
    wanted.memory = std::make_shared<MemoryCharge>(api.memory, "anna");
    return ask(std::move(wanted));
  };
  const std::string small = '"' + to_base64(plain_png(64, 64)) + '"';
  const std::string large = '"' + to_base64(plain_png(512, 512)) + '"';
  const auto from = [](const std::string& pictures, const std::string& more = "") {
    return R"({"prompt": "x", "width": 64, "height": 64, "batch_size": 8, "init_images": [)" + pictures +
           "]" + more + "}";
  };
  ASSERT_EQ(charged("img2img", from(small + "," + small, R"(, "mask": )" + small)).status, 200);
  EXPECT_GE(api.memory->bytes_held(), std::uint64_t{2 * 4 * 64 * 64});  // the device has them still
  dispatcher.jobs.clear();
  EXPECT_EQ(api.memory->bytes_held(), 0u);
  std::string eight = large;
  for (int i = 1; i < 8; ++i) eight += "," + large;
  EXPECT_EQ(charged("img2img", from(eight)).status, 413);
  EXPECT_EQ(charged("extra-single-image", R"({"upscaler_1": "Lanczos", "image": )" + small + "}").status,
            200);
  EXPECT_EQ(charged("extra-single-image", R"({"upscaler_1": "Lanczos", "image": )" + large + "}").status,
            413);
  EXPECT_EQ(api.memory->bytes_held(), 0u);
}

TEST_F(Sdapi, MakesPicturesLargerWithoutAModel) {
  const auto enlarged = [&](const std::string& more, int width = 50, int height = 30) {
    const auto response = ask("POST", "/sdapi/v1/extra-single-image",
                              R"({"image": ")" + to_base64(plain_png(width, height)) +
                                  R"(", "upscaler_1": "Lanczos")" + more + "}");
    EXPECT_EQ(response.status, 200) << *response.body;
    const auto image = decode_image(from_base64(body_of(response).at("image").as_string()).value(), {});
    return std::pair(image->width, image->height);
  };
  EXPECT_EQ(enlarged(""), std::pair(96, 56));
  EXPECT_EQ(enlarged(R"(, "upscaling_resize": 4)", 16, 16), std::pair(64, 64));
  EXPECT_EQ(enlarged(R"(, "upscaling_resize": 0.1)"), std::pair(5, 3));
  EXPECT_EQ(enlarged(R"(, "resize_mode": 1, "upscaling_resize_w": 70, "upscaling_resize_h": 70)"),
            std::pair(70, 70));
  EXPECT_EQ(
      enlarged(
          R"(, "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 10, "upscaling_crop": 0)"),
      std::pair(100, 60));
  EXPECT_EQ(enlarged(R"(, "x": 0)", 1, 1), std::pair(2, 2));
  const std::string item = R"({"data": ")" + to_base64(plain_png(16, 8)) + R"(", "name": "a.png"})";
  const auto batch = ask("POST", "/sdapi/v1/extra-batch-images",
                         R"({"imageList": [)" + item + "," + item + R"(], "upscaler_1": "Lanczos"})");
  ASSERT_EQ(batch.status, 200) << *batch.body;
  EXPECT_EQ(body_of(batch).at("images").as_array().size(), 2u);
  EXPECT_EQ(decode_image(image_of(batch, 1), {})->width, 32);
  // What the picture says of itself stays.
  const auto made = text(R"({"prompt": "x", "seed": 5})");
  const auto larger = ask("POST", "/sdapi/v1/extra-single-image",
                          R"({"upscaler_1": "Lanczos", "image": ")" + to_base64(image_of(made)) + "\"}");
  const auto texts = read_text(from_base64(body_of(larger).at("image").as_string()).value()).value();
  EXPECT_EQ(texts.at(0).text, "Postprocess upscale by: 2, Postprocess upscaler: Lanczos");
  EXPECT_EQ(texts.at(1).text, std::string(info_of(made).at("infotexts").at(0).as_string()));
}

}  // namespace
}  // namespace diffused::api
