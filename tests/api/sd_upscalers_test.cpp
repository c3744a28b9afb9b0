// Networks that make pictures larger, as A1111's clients ask for them.
#include <gtest/gtest.h>

#include "api/fixture.h"
#include "image/base64.h"
#include "image/codec.h"

namespace diffused::api {
namespace {

std::string file_of(const Image& image) { return to_base64(find_codec("png")->encode(image, {}).value()); }

// A dispatcher with two upscalers; what they make is light (FakeDispatcher).
class SdUpscalers : public testing::Test, public ApiFixture {
 protected:
  SdUpscalers() {
    for (const auto& [name, alias, scale] : {std::tuple{"R-ESRGAN 4x+", "RealESRGAN_x4plus", 4},
                                             std::tuple{"R-ESRGAN 2x+", "RealESRGAN_x2plus", 2}}) {
      ServedModel network{name, {alias}, 0, {}};
      network.info.enlarges = scale;
      dispatcher.networks.push_back(std::move(network));
    }
  }
  http::Response extra(const std::string& more, const Image& image = plain_image(50, 30, 100)) {
    return ask("POST", "/sdapi/v1/extra-single-image",
               R"({"image": ")" + file_of(image) + "\", " + more + "}");
  }
  Image enlarged(const std::string& more, const Image& image = plain_image(50, 30, 100)) {
    const auto response = extra(more, image);
    EXPECT_EQ(response.status, 200) << *response.body;
    return decode_image(from_base64(body_of(response).at("image").as_string()).value(), {}).value();
  }
};

TEST_F(SdUpscalers, AreListedBehindLanczosAndNotAmongTheModels) {
  const json::value listed = body_of(ask("GET", "/sdapi/v1/upscalers"));
  ASSERT_EQ(listed.as_array().size(), 4u);
  EXPECT_EQ(listed.at(2).at("name"), "R-ESRGAN 4x+");
  EXPECT_EQ(listed.at(3).at("scale"), 2);
  EXPECT_EQ(body_of(ask("GET", "/v1/models")).at("data").as_array().size(), 2u);
  api.options.unknown_model = UnknownModel::reject;
  EXPECT_EQ(ask("POST", "/v1/images/generations", R"({"prompt": "x", "model": "R-ESRGAN 4x+"})").status, 404);
}

TEST_F(SdUpscalers, MakeThePictureThatIsThenBroughtToItsSize) {
  const Image image = enlarged(R"("upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 3)");
  EXPECT_EQ(image.width, 144);
  EXPECT_EQ(image.pixels[0], 200);
  ASSERT_EQ(dispatcher.jobs.size(), 1u);
  EXPECT_EQ(dispatcher.jobs[0].request.init_image->pixels[0], 100);
  EXPECT_EQ(dispatcher.jobs[0].options.user, "192.0.2.7");
  EXPECT_EQ(enlarged(R"("upscaler_1": "RealESRGAN_x2plus", "resize_mode": 1)").width, 512);
  EXPECT_EQ(dispatcher.jobs.size(), 4u);  // three times 2
  EXPECT_EQ(enlarged(R"("upscaler_1": "R-ESRGAN 2x+", "upscaling_resize": 0.5)").width, 24);
  EXPECT_EQ(dispatcher.jobs.size(), 4u);  // it is large enough
  const std::string account(
      body_of(extra(R"("upscaler_1": "RealESRGAN_x4plus")")).at("html_info").as_string());
  EXPECT_EQ(account, "<p>Postprocess upscale by: 2, Postprocess upscaler: R-ESRGAN 4x+</p>");
}

TEST_F(SdUpscalers, LeaveAPictureItsTransparency) {
  Image image{20, 10, 4, std::vector<std::uint8_t>(800, 100)};
  for (std::size_t i = 3; i < 400; i += 4) image.pixels[i] = 0;
  const Image larger = enlarged(R"("upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 4)", image);
  ASSERT_EQ(larger.channels, 4);
  EXPECT_EQ(larger.pixels[0], 200);
  EXPECT_EQ(larger.pixels[3], 0);
  EXPECT_EQ(larger.pixels[larger.pixels.size() - 1], 100);
}

TEST_F(SdUpscalers, AreLaidOverEachOther) {
  const auto shade = [&](const std::string& more) {
    return enlarged(R"("upscaler_1": "Lanczos", "upscaler_2": "R-ESRGAN 4x+")" + more).pixels[0];
  };
  EXPECT_EQ(shade(R"(, "extras_upscaler_2_visibility": 0.5)"), 150);
  EXPECT_EQ(shade(R"(, "extras_upscaler_2_visibility": 1)"), 200);
  dispatcher.jobs.clear();
  EXPECT_EQ(shade(""), 100);
  EXPECT_TRUE(dispatcher.jobs.empty());
}

TEST_F(SdUpscalers, MakeTheFirstPassLarger) {
  const auto response = ask("POST", "/sdapi/v1/txt2img",
                            R"({"prompt": "x", "width": 64, "height": 64, "enable_hr": true, "batch_size": 2,
                                "hr_upscaler": "R-ESRGAN 4x+", "hr_scale": 2})");
  ASSERT_EQ(response.status, 200) << *response.body;
  ASSERT_EQ(dispatcher.jobs.size(), 5u);
  EXPECT_EQ(dispatcher.jobs[1].request.model, "R-ESRGAN 4x+");
  EXPECT_EQ(dispatcher.jobs[2].request.init_image->width, 128);
  EXPECT_FALSE(body_of(response).as_object().contains("warnings"));
  const json::value info = json::parse(body_of(response).at("info").as_string());
  EXPECT_EQ(info.at("extra_generation_params").at("Hires upscaler"), "R-ESRGAN 4x+");
}

TEST_F(SdUpscalers, FailWithTheJob) {
  dispatcher.failure = Error{ErrorCode::out_of_memory, "no memory", {}, {}};
  EXPECT_GE(extra(R"("upscaler_1": "R-ESRGAN 4x+")").status, 500);
  dispatcher.failure.reset();
  EXPECT_EQ(extra(R"("upscaler_1": "Latent")").status, 400);
  api.options.limits.upload.side_max = 128;
  const auto large = extra(R"("upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 2)");
  EXPECT_EQ(large.status, 400);
  EXPECT_NE(large.body->find("200x120"), std::string::npos) << *large.body;
}

}  // namespace
}  // namespace diffused::api
