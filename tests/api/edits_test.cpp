#include "api/fixture.h"
#include "image/base64.h"
#include "image/codec.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused::api {
namespace {

std::string png(int width, int height, int channels = 3, std::uint8_t shade = 50) {
  const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) * height * channels, shade);
  return find_codec("png")->encode(Image{width, height, channels, pixels}, {}).value();
}

// A form as clients write it: files have a file name and a type of no account.
class Form {
 public:
  Form& field(const std::string& name, const std::string& value) {
    body_ += "--edge\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    return *this;
  }
  Form& file(const std::string& name, const std::string& bytes, const std::string& file_name = "blob") {
    body_ += "--edge\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"" + file_name +
             "\"\r\nContent-Type: application/octet-stream\r\n\r\n" + bytes + "\r\n";
    return *this;
  }
  http::Request request(const std::string& path, bool final_boundary = true) const {
    http::Request request = ApiFixture::request("POST", path, body_ + (final_boundary ? "--edge--\r\n" : ""));
    request.headers = {{"host", "localhost:8000"}, {"content-type", "multipart/form-data; boundary=edge"}};
    return request;
  }

 private:
  std::string body_;
};

class Edits : public testing::Test, public ApiFixture {
 protected:
  http::Response edit(const Form& form) { return ask(form.request("/v1/images/edits")); }
  http::Response edit_json(const std::string& body) { return ask("POST", "/v1/images/edits", body); }
  const GenerateRequest& job() const { return dispatcher.jobs.back().request; }

  void expect_refusal(const http::Response& response, const char* param, const char* code, int status = 400) {
    EXPECT_EQ(response.status, status) << *response.body;
    const auto error = body_of(response).at("error").as_object();
    EXPECT_EQ(error.at("param"), param ? json::value(param) : json::value(nullptr)) << *response.body;
    EXPECT_EQ(error.at("code"), code) << *response.body;
  }
};

TEST_F(Edits, TakeTheImageUnderEveryNameClientsGiveIt) {
  for (const char* name : {"image", "image[]", "image[0]"}) {
    const auto response = edit(Form().field("prompt", "a hat").file(name, png(64, 32)));
    ASSERT_EQ(response.status, 200) << name << *response.body;
    EXPECT_EQ(job().prompt, "a hat");
    ASSERT_TRUE(job().init_image);
    EXPECT_EQ(job().init_image->width, 64);
    EXPECT_EQ(job().width, 64);
    EXPECT_EQ(job().height, 32);
    EXPECT_FALSE(job().mask);
  }
}

TEST_F(Edits, ReadFormTextAsTheFieldsType) {
  const auto response = edit(Form()
                                 .field("n", "2")
                                 .field("seed", "7")
                                 .field("strength", "0.25")
                                 .field("response_format", "b64_json")
                                 .field("prompt", "2")
                                 .field("steps", "3")
                                 .file("image", png(64, 64)));
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().prompt, "2");
  EXPECT_EQ(job().seeds, (std::vector<std::uint64_t>{7, 8}));
  EXPECT_EQ(job().strength, 0.25);
  EXPECT_EQ(job().num_inference_steps, 3);
  EXPECT_TRUE(body_of(response).at("data").at(0).as_object().contains("b64_json"));
}

TEST_F(Edits, ReadListsAndObjectsThatFormsSpellWithBrackets) {
  const auto response = edit(Form()
                                 .field("prompt", "x")
                                 .field("seed[]", "7")
                                 .field("seed[]", "3")
                                 .field("extra_body[steps]", "9")
                                 .field("svg[model]", "none")
                                 .file("image", png(64, 64)));
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().seeds, (std::vector<std::uint64_t>{7, 3}));
  EXPECT_EQ(job().num_inference_steps, 9);
  const Form form = Form().field("prompt", "x").file("image", png(16, 16));
  expect_refusal(edit(Form(form).field("n[]", "2")), "n", "invalid_type");
  expect_refusal(edit(Form(form).field("seed[]", "x")), "seed", "invalid_type");
  EXPECT_EQ(edit(Form(form).field("[]", "2").field("[a]", "2").field("x[", "2").field("y[a][b]", "2")).status,
            200);
}

TEST_F(Edits, LeaveOtherFilesAlone) {
  const Form form = Form().field("prompt", "x").file("image", png(16, 16));
  EXPECT_EQ(edit(Form(form).file("thumbnail", png(16, 16))).status, 200);
  expect_refusal(edit(Form(form).file("markup", png(16, 16, 4))), "markup", "unsupported_value");
}

TEST_F(Edits, FitTheImageToTheSizeThatIsMade) {
  ASSERT_EQ(edit(Form().field("prompt", "x").file("image", png(70, 45))).status, 200);
  EXPECT_EQ(job().init_image->width, 64);
  EXPECT_EQ(job().init_image->height, 32);
  ASSERT_EQ(edit(Form().field("prompt", "x").file("image", png(2048, 1024))).status, 200);
  EXPECT_EQ(job().init_image->width, 1024);
  EXPECT_EQ(job().init_image->height, 512);
  ASSERT_EQ(edit(Form().field("prompt", "x").field("size", "32x48").file("image", png(70, 45, 4))).status,
            200);
  EXPECT_EQ(job().init_image->width, 32);
  EXPECT_EQ(job().init_image->height, 48);
  EXPECT_EQ(job().init_image->channels, 3);
  ASSERT_EQ(edit(Form().field("prompt", "x").file("image", png(1, 1))).status, 200);
  EXPECT_EQ(job().width, 16);
}

// Which the device may have for a moment longer than the client.
TEST_F(Edits, AreChargedForAsLongAsAnybodyHasThePicture) {
  api.memory = std::make_shared<MemoryBudget>(8 << 20);
  const auto charged = [&](const Form& form) {
    http::Request wanted = form.request("/v1/images/edits");
    wanted.memory = std::make_shared<MemoryCharge>(api.memory, "anna");
    return ask(std::move(wanted));
  };
  EXPECT_EQ(charged(Form().field("prompt", "x").file("image", png(600, 600))).status, 200);
  EXPECT_GE(api.memory->bytes_held(), std::uint64_t{3 * 592 * 592});
  const auto later = charged(Form().field("prompt", "x").file("image", png(960, 960)));
  EXPECT_EQ(later.status, 429);
  EXPECT_EQ(body_of(later).at("error").at("code"), "memory_share");
  dispatcher.jobs.clear();
  EXPECT_EQ(api.memory->bytes_held(), 0u);
  const auto refused = charged(Form().field("prompt", "x").file("image", png(1024, 1025)));
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(body_of(refused).at("error").at("param"), "image");
  EXPECT_EQ(api.memory->bytes_held(), 0u);
}

TEST_F(Edits, ReadAMaskByItsAlphaOrItsLight) {
  const auto mask_of = [&](const std::string& mask, const std::string& mode) -> int {
    const auto response = edit(
        Form().file("mask", mask).field("mask_mode", mode).field("prompt", "x").file("image[]", png(32, 32)));
    EXPECT_EQ(response.status, 200) << *response.body;
    EXPECT_EQ(job().mask->channels, 1);
    return job().mask->pixels[0];
  };
  EXPECT_EQ(mask_of(png(32, 32, 3, 255), "auto"), 255);
  EXPECT_EQ(mask_of(png(32, 32, 3, 0), "auto"), 0);
  EXPECT_EQ(mask_of(png(32, 32, 4, 0), "auto"), 255);  // transparent black
  EXPECT_EQ(mask_of(png(32, 32, 4, 0), "luminance"), 0);
  EXPECT_EQ(mask_of(png(32, 32, 4, 255), "auto"), 255);  // opaque white
  EXPECT_EQ(mask_of(png(32, 32, 4, 255), "alpha"), 0);
}

TEST_F(Edits, ReadTruthsAsFormsWriteThem) {
  const Form form = Form().field("prompt", "x").file("image", png(16, 16));
  for (const char* yes : {"true", "True", "TRUE", "1", "on", "yes", "y", "t"}) {
    http::FakeExchange exchange(io, Form(form).field("stream", yes).request("/v1/images/edits"));
    run(exchange);
    EXPECT_TRUE(exchange.stream_headers) << yes;
  }
  for (const char* no : {"false", "False", "0", "off", "no", "n", "f", ""}) {
    const auto response = edit(Form(form).field("stream", no));
    EXPECT_EQ(response.status, 200) << no << *response.body;
  }
  for (const char* neither : {"2", "maybe", "null!", "[]"})
    expect_refusal(edit(Form(form).field("stream", neither)), "stream", "invalid_type");
}

TEST_F(Edits, TakeWhatWasLeftEmptyForAbsent) {
  Form form =
      Form().field("prompt", "x").file("image", png(32, 16)).file("mask", "", "").file("image[]", "", "");
  for (const char* name :
       {"n", "seed", "steps", "cfg_scale", "size", "width", "response_format", "output_format",
        "output_compression", "stream", "mask_mode", "strength", "loras", "extra_body", "model",
        "negative_prompt", "original_size", "background_job", "prompt_syntax"})
    form.field(name, "");
  const auto response = edit(form);
  ASSERT_EQ(response.status, 200) << *response.body;
  EXPECT_EQ(job().n(), 1u);
  EXPECT_EQ(job().width, 32);
  EXPECT_FALSE(job().mask);
  EXPECT_EQ(edit(Form().field("prompt", "x").field("mask", "").file("image", png(32, 16))).status, 200);
  // An alias counts where the name that beats it was left empty.
  ASSERT_EQ(edit(Form()
                     .field("prompt", "x")
                     .field("num_inference_steps", "")
                     .field("steps", "3")
                     .file("image", png(16, 16)))
                .status,
            200);
  EXPECT_EQ(job().num_inference_steps, 3);
  expect_refusal(edit(Form().field("prompt", "x").file("image", "", "")), "image",
                 "missing_required_parameter");
  expect_refusal(edit(Form().field("prompt", "x").file("image", "")), "image", "invalid_image_file");
  expect_refusal(edit(Form().field("prompt", "").file("image", png(16, 16))), "prompt", "invalid_value");
  const std::string picture = "\"" + to_base64(png(16, 16)) + "\"";
  for (const char* none :
       {R"("")", "null", "[]", R"({"image_url": ""})", R"({"image_url": {"url": ""}})", R"([""])"})
    EXPECT_EQ(edit_json(R"({"prompt": "x", "image": )" + picture + R"(, "mask": )" + none + "}").status, 200)
        << none;
}

TEST_F(Edits, ShowNothingThatAPictureHides) {
  // Red, of which the right half is transparent.
  Image picture{32, 16, 4, {}};
  for (int i = 0; i < 32 * 16; ++i)
    picture.pixels.insert(picture.pixels.end(), {255, 0, 0, std::uint8_t(i % 32 < 16 ? 255 : 0)});
  const std::string bytes = find_codec("png")->encode(picture, {}).value();
  const auto green = [&](int x) -> int { return job().init_image->pixels[x * 3 + 1]; };
  const Form form = Form().field("prompt", "x").file("image", bytes);
  // Without a mask the transparency is the mask.
  ASSERT_EQ(edit(form).status, 200);
  EXPECT_EQ(green(0), 0);
  EXPECT_EQ(green(31), 255);
  ASSERT_TRUE(job().mask);
  EXPECT_EQ(job().mask->pixels[0], 0);
  EXPECT_EQ(job().mask->pixels[31], 255);
  // With one it is not.
  ASSERT_EQ(edit(Form(form).file("mask", png(32, 16, 3, 255))).status, 200);
  EXPECT_EQ(job().mask->pixels[0], 255);
  EXPECT_EQ(green(31), 255);
  ASSERT_EQ(edit(Form(form).field("mask_mode", "luminance")).status, 200);
  EXPECT_FALSE(job().mask);
  ASSERT_EQ(ask(form.request("/v1/images/variations")).status, 200);
  EXPECT_FALSE(job().mask);
  EXPECT_EQ(green(31), 255);
  // A trace of transparency would repaint nothing.
  for (std::size_t i = 3; i < picture.pixels.size(); i += 4) picture.pixels[i] = i == 3 ? 200 : 255;
  ASSERT_EQ(
      edit(Form().field("prompt", "x").file("image", find_codec("png")->encode(picture, {}).value())).status,
      200);
  EXPECT_FALSE(job().mask);
  dispatcher.served[0].info.inpaint = false;
  ASSERT_EQ(edit(form).status, 200);
  EXPECT_FALSE(job().mask);
}

TEST_F(Edits, AreMadeByModelsThatOnlyInpaint) {
  dispatcher.served[0].info.image_to_image = false;
  const Form form = Form().field("prompt", "x").file("image", png(32, 16));
  EXPECT_EQ(edit(Form(form).file("mask", png(32, 16, 3, 255))).status, 200);
  dispatcher.served[0].info.inpaint = false;
  expect_refusal(edit(form), "image", "unsupported_value");
}

TEST_F(Edits, TakeJsonInTheSpellingsInUse) {
  const std::string text = to_base64(png(32, 32));
  const std::string url = "data:image/png;base64," + text;
  for (const std::string& images :
       {R"("images": [{"image_url": ")" + url + R"("}])",
        R"("images": [{"image_url": {"url": ")" + url + R"("}}])", R"("image": ")" + url + R"(")",
        R"("image": [")" + text + R"("])", R"("image": {"b64_json": ")" + text + R"("})",
        R"("images": [{"base64": ")" + text + R"("}])"}) {
    const auto response =
        edit_json(R"({"prompt": "x", "mask": {"image_url": ")" + url + R"("}, )" + images + "}");
    ASSERT_EQ(response.status, 200) << *response.body;
    EXPECT_EQ(job().init_image->width, 32);
    EXPECT_TRUE(job().mask);
  }
}

TEST_F(Edits, StreamUnderTheirOwnEventNames) {
  http::FakeExchange exchange(io, Form()
                                      .field("prompt", "x")
                                      .field("stream", "true")
                                      .field("partial_images", "1")
                                      .file("image", png(32, 32))
                                      .request("/v1/images/edits"));
  run(exchange);
  std::vector<std::string> names;
  for (const auto& sent : exchange.sent)
    if (!sent.comment) names.push_back(sent.name);
  EXPECT_EQ(names, (std::vector<std::string>{"image_edit.partial_image", "image_edit.completed"}));
}

TEST_F(Edits, NeedNoPromptToMakeAVariation) {
  ASSERT_EQ(ask(Form().field("n", "2").file("image", png(32, 32)).request("/v1/images/variations")).status,
            200);
  EXPECT_EQ(job().prompt, "");
  EXPECT_TRUE(job().init_image);
  expect_refusal(edit(Form().file("image", png(32, 32))), "prompt", "missing_required_parameter");
}

TEST_F(Edits, RefuseWhatIsNoImage) {
  const auto data = [](const std::string& name) {
    return read_file(test::source_folder() / "tests/image/data" / name);
  };
  const Form prompt = Form().field("prompt", "x");
  expect_refusal(edit(prompt), "image", "missing_required_parameter");
  expect_refusal(edit(Form(prompt).file("image", "")), "image", "invalid_image_file");
  expect_refusal(edit(Form(prompt).file("image", "Example data")), "image", "invalid_image_file");
  expect_refusal(edit(Form(prompt).file("image[]", png(32, 32).substr(0, 60))), "image[]",
                 "invalid_image_file");
  expect_refusal(edit(Form(prompt).file("image", data("bomb_pixels.png"))), "image", "image_too_large");
  expect_refusal(edit(Form(prompt).file("image", data("webp_animated.webp"))), "image", "invalid_image_file");
  expect_refusal(edit(Form(prompt).file("image", png(32, 32)).file("mask", "")), "mask",
                 "invalid_image_file");
}

TEST_F(Edits, AcceptTheImagesThatAreOnlyUnusual) {
  for (const char* name :
       {"png_sixteen_bit.png", "jpeg_cmyk.jpg", "jpeg_exif_6.jpg", "webp_alpha.webp", "png_grey.png"}) {
    const auto bytes = read_file(test::source_folder() / "tests/image/data" / name);
    EXPECT_EQ(edit(Form().field("prompt", "x").file("image", bytes)).status, 200) << name;
    EXPECT_EQ(job().init_image->channels, 3);
  }
}

TEST_F(Edits, RefuseMoreThanCanBeUsed) {
  Form many = Form().field("prompt", "x");
  for (int i = 0; i < 17; ++i) many.file("image[]", png(16, 16));
  expect_refusal(edit(many), "image[]", "invalid_value");
  expect_refusal(edit(Form().field("prompt", "x").file("image", png(16, 16)).file("image", png(16, 16))),
                 "image", "unsupported_value");
  expect_refusal(edit(Form()
                          .field("prompt", "x")
                          .file("image", png(16, 16))
                          .file("mask", png(16, 16))
                          .file("mask", png(16, 16))),
                 "mask", "invalid_value");
}

TEST_F(Edits, RefuseAMaskThatDoesNotFit) {
  const Form form = Form().field("prompt", "x").file("image", png(32, 32));
  expect_refusal(edit(Form(form).file("mask", png(32, 48))), "mask", "invalid_value");
  expect_refusal(edit(Form(form).file("mask", png(32, 32)).field("mask_mode", "alpha")), "mask",
                 "invalid_value");
}

TEST_F(Edits, RefuseWhatTheModelCannotDo) {
  const Form form = Form().field("prompt", "x").file("image", png(32, 32));
  dispatcher.served[0].info.inpaint = false;
  expect_refusal(edit(Form(form).file("mask", png(32, 32))), "mask", "unsupported_value");
  dispatcher.served[0].info.image_to_image = false;
  expect_refusal(edit(form), "image", "unsupported_value");
}

TEST_F(Edits, AreReferencesForModelsThatGoByPictures) {
  PipelineInfo& info = dispatcher.served[0].info;
  info.image_to_image = info.inpaint = false;
  info.references_max = 2;
  const Form one = Form().field("prompt", "x").file("image[]", png(100, 70, 4));
  ASSERT_EQ(edit(one).status, 200);
  ASSERT_EQ(job().references.size(), 1u);
  EXPECT_EQ(job().references[0]->width, 100);  // as it came: the model knows what it needs
  EXPECT_EQ(job().references[0]->height, 70);
  EXPECT_EQ(job().references[0]->channels, 3);
  EXPECT_FALSE(job().init_image);
  const Form two = Form(one).file("image[]", png(64, 64));
  ASSERT_EQ(edit(Form(two).field("size", "64x32")).status, 200);
  EXPECT_EQ(job().references.size(), 2u);
  EXPECT_EQ(job().width, 64);
  EXPECT_EQ(job().height, 32);
  expect_refusal(edit(Form(two).file("image[]", png(64, 64))), "image[]", "unsupported_value");
  expect_refusal(edit(Form(one).file("mask", png(100, 70))), "mask", "unsupported_value");
  expect_refusal(edit(Form().field("prompt", "x")), "image", "missing_required_parameter");
  dispatcher.refusal = Error{ErrorCode::invalid_argument, "too small", "references", {}};
  expect_refusal(edit(one), "image[]", "invalid_value");
  expect_refusal(edit(Form().field("prompt", "x").file("image", png(8, 8))), "image", "invalid_value");
  dispatcher.refusal.reset();
  ASSERT_EQ(edit_json(R"({"prompt": "x", "images": [")" + to_base64(png(64, 64)) + R"("]})").status, 200);
  EXPECT_EQ(job().references.size(), 1u);
}

TEST_F(Edits, RepaintTheFirstOfSeveralPicturesWhereAMaskSays) {
  PipelineInfo& info = dispatcher.served[0].info;
  info.image_to_image = false;
  info.references_max = 4;
  const Form one =
      Form().field("prompt", "x").file("image[]", png(100, 70)).file("mask", png(100, 70, 1, 255));
  ASSERT_EQ(edit(one).status, 200);
  ASSERT_TRUE(job().init_image && job().mask);
  EXPECT_EQ(job().init_image->width, 100);  // as it came: the model knows what it needs
  EXPECT_EQ(job().mask->pixels[0], 255);
  EXPECT_TRUE(job().references.empty());
  EXPECT_EQ(job().width, 64);  // the model's own, not the picture's
  const Form two = Form(one).file("image[]", png(64, 48));
  ASSERT_EQ(edit(two).status, 200);
  EXPECT_EQ(job().init_image->width, 100);
  ASSERT_EQ(job().references.size(), 1u);
  EXPECT_EQ(job().references[0]->width, 64);
  expect_refusal(edit(Form(two).file("image[]", png(64, 64))), "image[]", "unsupported_value");
  expect_refusal(edit(Form(one).file("mask", png(100, 70))), "mask", "invalid_value");
  const Form other_size = Form().field("prompt", "x").file("image", png(64, 64)).file("mask", png(32, 64));
  expect_refusal(edit(other_size), "mask", "invalid_value");
}

TEST_F(Edits, AreThePictureToGoByWhereOneIsNeeded) {
  PipelineInfo& info = dispatcher.served[0].info;
  info.references_max = 1;
  info.reference_needed = true;
  const Form one = Form().field("prompt", "x").file("image", png(100, 70));
  ASSERT_EQ(edit(one).status, 200);
  EXPECT_FALSE(job().init_image);
  ASSERT_EQ(job().references.size(), 1u);
  EXPECT_EQ(job().width, 96);  // the model's multiple
  EXPECT_EQ(job().height, 64);
  ASSERT_EQ(edit(Form(one).file("image", png(64, 64))).status, 200);
  ASSERT_TRUE(job().init_image);
  EXPECT_EQ(job().init_image->width, 100);
  EXPECT_EQ(job().references[0]->width, 64);
  ASSERT_EQ(edit(Form(one).file("image", png(64, 64)).file("mask", png(100, 70, 1, 255))).status, 200);
  EXPECT_TRUE(job().mask);
  expect_refusal(edit(Form(one).file("image", png(64, 64)).file("image", png(64, 64))), "image",
                 "unsupported_value");
}

TEST_F(Edits, RefuseMalformedForms) {
  const Form form = Form().field("prompt", "x").file("image", png(32, 32));
  EXPECT_EQ(ask(form.request("/v1/images/edits", false)).status, 400);
  http::Request no_boundary = form.request("/v1/images/edits");
  no_boundary.headers = {{"content-type", "multipart/form-data"}};
  EXPECT_EQ(ask(no_boundary).status, 400);
  http::Request plain = form.request("/v1/images/edits");
  plain.headers = {{"content-type", "text/plain"}};
  expect_refusal(ask(plain), nullptr, "unsupported_content_type", 415);
  expect_refusal(edit(Form(form).field("user", "\xff")), "user", "invalid_value");
  expect_refusal(edit(Form(form).field("n", "two")), "n", "invalid_type");
  expect_refusal(edit(Form(form).field("stream", "maybe")), "stream", "invalid_type");
  expect_refusal(edit(Form(form).field("strength", "1.5")), "strength", "invalid_value");
  expect_refusal(edit(Form(form).field("denoising_strength", "NaN")), "denoising_strength", "invalid_type");
}

TEST_F(Edits, NeverFetchAUrlAndRefuseWhatIsNoImageInJson) {
  const auto refuse = [&](const std::string& image, const char* code) {
    expect_refusal(edit_json(R"({"prompt": "x", "images": [)" + image + "]}"), "images", code);
  };
  refuse(R"({"image_url": "http://127.0.0.1/x.png"})", "invalid_value");
  refuse(R"("https://example.com/x.png")", "invalid_value");
  refuse(R"({"image_url": "file:///etc/passwd"})", "invalid_value");
  refuse(R"({"file_id": "file-1"})", "unsupported_value");
  refuse(R"("data:text/plain;base64,aGVsbG8=")", "invalid_image_file");
  refuse(R"("data:image/png,abc")", "invalid_base64");
  refuse("7", "invalid_value");
  refuse("{}", "invalid_value");
  expect_refusal(edit_json(R"({"prompt": "x", "images": []})"), "image", "missing_required_parameter");
}

}  // namespace
}  // namespace diffused::api
