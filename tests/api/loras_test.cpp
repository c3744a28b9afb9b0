#include "api/loras.h"

#include <gmock/gmock.h>

#include "api/fixture.h"
#include "api/listed_fields.h"
#include "api/sdapi/prompt_tags.h"
#include "image/base64.h"
#include "image/png.h"
#include "parameters/request_json.h"

namespace diffused {

bool operator==(const LoraChoice& a, const LoraChoice& b) { return a.name == b.name && a.weight == b.weight; }
void PrintTo(const LoraChoice& lora, std::ostream* out) { *out << lora.name << ':' << lora.weight; }

namespace api {
namespace {

using Choices = std::vector<LoraChoice>;

class Loras : public testing::Test, public ApiFixture {
 protected:
  // What a job has of a body's members.
  Choices chosen(const std::string& members) {
    const auto response = ask("POST", "/v1/images/generations", R"({"prompt": "x", )" + members + "}");
    EXPECT_EQ(response.status, 200) << *response.body;
    return response.status == 200 ? dispatcher.jobs.back().request.loras : Choices{};
  }
  Choices chosen_in_form(std::vector<std::pair<std::string, std::string>> fields) {
    fields.emplace_back("prompt", "x");
    http::Request form = request("POST", "/v1/images/edits");
    form.headers.emplace_back("content-type", "multipart/form-data; boundary=B");
    const Image image = plain_image(64, 64, 100);
    form.body = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n" +
                find_codec("png")->encode(image, {}).value() + "\r\n";
    for (const auto& [name, value] : fields)
      form.body += "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    form.body += "--B--\r\n";
    const auto response = ask(std::move(form));
    EXPECT_EQ(response.status, 200) << *response.body;
    return response.status == 200 ? dispatcher.jobs.back().request.loras : Choices{};
  }
};

TEST_F(Loras, AreTakenInEverySpelling) {
  const Choices one{{"ink", 0.5}};
  const Choices two{{"ink", 0.5}, {"cute", -2}};
  const std::pair<const char*, Choices> cases[] = {
      {R"("loras": null)", {}},
      {R"("loras": [])", {}},
      {R"("loras": {})", {}},
      {R"("loras": "ink")", {{"ink", 1}}},
      {R"("loras": ["ink", {"name": "cute"}])", {{"ink", 1}, {"cute", 1}}},
      {R"("loras": [{"name": "ink", "weight": 0.5}, {"name": "cute", "weight": -2}])", two},
      {R"("loras": [{"path": "ink", "scale": 0.5, "int_id": 3}, {"path": "cute", "multiplier": -2}])", two},
      {R"("lora": [{"name": "ink", "strength": 0.5}, {"name": "cute", "weight": -2, "scale": 7}])", two},
      {R"("lora": {"name": "ink", "path": "elsewhere", "weight": null, "scale": 0.5})", one},
      {R"("lora_alphas": {"ink": 0.5, "cute": -2})", two},
      {R"("loras": {"ink": 0.5}, "lora": {"cute": 1})", one},
      {R"("extra_body": {"loras": [{"name": "ink", "weight": 0.5}]})", one},
      {R"("extra_params": {"lora": {"ink": 0.5}})", one},
      {R"("loras": [{"name": "ink", "weight": 10}, {"name": "ink", "weight": -10}])",
       {{"ink", 10}, {"ink", -10}}},
  };
  for (const auto& [members, expected] : cases) EXPECT_EQ(chosen(members), expected) << members;
}

TEST_F(Loras, MayBeCalledName) {
  dispatcher.served[0].info.loras = {"name"};
  EXPECT_EQ(chosen(R"("loras": {"name": 0.5})"), (Choices{{"name", 0.5}}));
}

TEST_F(Loras, ComeInFormsAsTextOrWithBrackets) {
  const Choices one{{"ink", 0.5}};
  EXPECT_EQ(chosen_in_form({{"loras", R"([{"name": "ink", "weight": 0.5}])"}}), one);
  EXPECT_EQ(chosen_in_form({{"lora", R"({"ink": 0.5})"}}), one);
  EXPECT_EQ(chosen_in_form({{"lora[name]", "ink"}, {"lora[scale]", "0.5"}}), one);
  EXPECT_EQ(chosen_in_form({{"lora[ink]", "0.5"}}), one);
  EXPECT_EQ(chosen_in_form({{"loras[]", R"({"name": "ink", "weight": 0.5})"}, {"loras[]", "cute"}}),
            (Choices{{"ink", 0.5}, {"cute", 1}}));
  EXPECT_EQ(chosen_in_form({{"extra_body", R"({"loras": {"ink": 0.5}})"}}), one);
}

TEST_F(Loras, AreListedShortenedWhereOneIsUnknown) {
  std::vector<std::string> names;
  for (int i = 10; i < 40; ++i) names.push_back("lora" + std::to_string(i));
  dispatcher.served[0].info.loras = names;
  const auto message = [&] {
    const auto response = ask("POST", "/v1/images/generations", R"({"prompt": "x", "loras": "other"})");
    EXPECT_EQ(response.status, 400);
    return std::string(body_of(response).at("error").at("message").as_string());
  };
  EXPECT_EQ(message(),
            "there is no LoRA \"other\"; this model has lora10, lora11, lora12, lora13, lora14, lora15, "
            "lora16, lora17 and 22 more");
  dispatcher.served[0].info.loras = {};
  EXPECT_EQ(message(), "there is no LoRA \"other\"; this model has none");
}

TEST_F(Loras, AreDescribedWithTheirLimits) {
  GenerateRequest request;
  const json::object schema = schema_of(listed_fields(api.options.limits, request, /*with_picture=*/false));
  const json::value& list = schema.at("properties").at("lora").at("anyOf").at(1);
  EXPECT_EQ(list.at("maxItems"), kLorasMax);
  const json::value& item = list.at("items").at("properties");
  EXPECT_EQ(item.at("name").at("maxLength"), kLoraNameBytesMax);
  EXPECT_EQ(item.at("weight").at("maximum"), static_cast<int>(kLoraWeightMax));
  EXPECT_EQ(item.at("weight").at("minimum"), -static_cast<int>(kLoraWeightMax));
}

TEST_F(Loras, AreWrittenIntoPictures) {
  const auto response =
      ask("POST", "/v1/images/generations",
          R"({"prompt": "x", "loras": {"ink": 0.5, "cute": 1}, "response_format": "b64_json"})");
  const std::string png =
      from_base64(std::string(body_of(response).at("data").at(0).at("b64_json").as_string())).value();
  const auto chunks = read_png_text(png).value();
  EXPECT_THAT(chunks.at(0).text, testing::StartsWith("x<lora:ink:0.5><lora:cute:1>\nSteps: "));
  EXPECT_EQ(read_loras(json::parse(chunks.at(1).text).at("loras")), (Choices{{"ink", 0.5}, {"cute", 1}}));
}

TEST_F(Loras, AreChosenByTagsInTheOtherDialect) {
  const auto response =
      ask("POST", "/sdapi/v1/txt2img",
          R"({"prompt": "a <lora:ink:0.5>b<lyco:cute> c", "negative_prompt": "d <lora:ink:9>e",
                                "lora": [{"path": "style/ink", "multiplier": 2}], "enable_hr": true, "hr_scale": 2})");
  ASSERT_EQ(response.status, 200) << *response.body;
  ASSERT_EQ(dispatcher.jobs.size(), 2u);  // the second enlarges the first
  for (const auto& job : dispatcher.jobs) {
    EXPECT_EQ(job.request.prompt, "a b c");
    EXPECT_EQ(job.request.negative_prompt, "d e");
    EXPECT_EQ(job.request.loras, (Choices{{"style/ink", 2}, {"ink", 0.5}, {"cute", 1}}));
  }
}

TEST_F(Loras, AreCountedWithTheirTags) {
  std::string prompt;
  for (std::size_t i = 0; i < kLorasMax; ++i) prompt += "<lora:ink>";
  const auto status = [&](const std::string& members) {
    return ask("POST", "/sdapi/v1/txt2img", R"({"prompt": ")" + prompt + "\"" + members + "}").status;
  };
  EXPECT_EQ(status(""), 200);
  EXPECT_EQ(status(R"(, "lora": "ink")"), 400);
  prompt += "<lora:ink>";
  EXPECT_EQ(status(""), 400);
}

TEST(PromptTags, AreTakenOutOfPrompts) {
  const std::tuple<const char*, const char*, Choices> cases[] = {
      {"", "", {}},
      {"plain", "plain", {}},
      {"a <lora:x:1>b<hypernet:y:0.5>", "a b", {{"x", 1}}},
      {"<lora:style/ink>", "", {{"style/ink", 1}}},
      {"<lora:x:-0.25><lora:x:1e-1>", "", {{"x", -0.25}, {"x", 0.1}}},
      {"a < b > c <lora:x", "a < b > c <lora:x", {}},
      {"<<lora:x:2>>", "<>", {{"x", 2}}},
      {"<LORA:x:2> <loras:x> <lora>", "<LORA:x:2> <loras:x> <lora>", {}},
      {"<", "<", {}},
  };
  for (const auto& [prompt, text, loras] : cases) {
    const auto taken = take_tags(prompt);
    EXPECT_EQ(taken.text, text);
    EXPECT_EQ(taken.loras, loras);
    EXPECT_EQ(without_tags(prompt), text);
  }
}

TEST(PromptTags, ThatCannotBeReadAreLeftOut) {
  for (const char* weight : {"", " ", "+", "++1", "+-1", "0x1", "1,5", "nan", "inf", "-inf", "10.01", "-11",
                             "1e999", "1:", "1:x", "te=", "1:unet=x", "one"}) {
    const auto taken = take_tags("a <lora:x:" + std::string(weight) + ">");
    EXPECT_TRUE(taken.loras.empty()) << weight;
    EXPECT_EQ(taken.text, "a ");
    ASSERT_EQ(taken.ignored.size(), 1u);
    EXPECT_EQ(taken.ignored[0],
              "<lora:x:" + std::string(weight) + "> was left out: its weight is no number from -10 to 10");
  }
  for (const std::string& name : {std::string(), std::string(":1"), std::string(256, 'a')}) {
    const auto taken = take_tags("<lora:" + name + ">");
    EXPECT_TRUE(taken.loras.empty());
    EXPECT_THAT(taken.ignored, testing::ElementsAre(testing::HasSubstr("without a name of 1 to 255 bytes")));
  }
  EXPECT_EQ(take_tags("<lora:" + std::string(255, 'a') + ":1>").loras.size(), 1u);
}

}  // namespace
}  // namespace api
}  // namespace diffused
