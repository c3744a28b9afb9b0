#include "parameters/request_fields.h"

#include <gmock/gmock.h>

#include <boost/json/parse.hpp>
#include <set>

#include "parameters/picture_text.h"
#include "parameters/request_json.h"

namespace diffused {
namespace {

namespace json = boost::json;

// Gives every field of the list a value that is not its absence.
GenerateRequest full_request() {
  GenerateRequest request;
  request.model = "demo";
  request.seeds = {7, ~std::uint64_t{0}};
  int next = 1;
  const auto fill = [&next](auto& member) {
    using Member = std::remove_reference_t<decltype(member)>;
    if constexpr (std::is_same_v<Member, std::string> || std::is_same_v<Member, std::optional<std::string>>)
      member = "text " + std::to_string(next++);
    else if constexpr (std::is_same_v<Member, std::optional<std::array<int, 2>>>)
      member = {next++, 8};
    else if constexpr (std::is_same_v<Member, std::optional<StepCache>>)
      member = StepCache{.mode = kEasyCache, .threshold = 0.25};
    else if constexpr (std::is_same_v<Member, std::vector<LoraChoice>>)
      member = {{"style/ink", -0.75, 0.5}, {"äöü", 1, std::nullopt}};
    else if constexpr (std::is_same_v<Member, std::vector<int>> ||
                       std::is_same_v<Member, std::vector<double>>)
      member = {5, 3};
    else
      member = next++;
  };
  each_field(request, [&](const FieldInfo&, auto& member) { fill(member); });
  return request;
}

TEST(RequestFields, HaveNamesOfTheirOwnAndSayWhatTheyAre) {
  std::set<std::string_view> names;
  each_field(GenerateRequest(), [&](const FieldInfo& field, const auto&) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    for (const std::string_view alias : field.aliases)
      EXPECT_TRUE(alias.empty() || names.insert(alias).second) << alias;
    EXPECT_TRUE(field.about.ends_with('.')) << field.name;
    EXPECT_LE(field.range.least, field.range.most) << field.name;
    EXPECT_LE(field.items_min, field.items_max) << field.name;
  });
}

TEST(RequestFields, BoundsAreTheServers) {
  const FieldLimits limits{
      .steps_max = 9, .side_max = 64, .prompt_characters_max = 5, .guidance_scale_max = 2.5};
  std::map<std::string_view, FieldInfo> fields;
  each_field(GenerateRequest(), limits,
             [&](const FieldInfo& field, const auto&) { fields.emplace(field.name, field); });
  EXPECT_EQ(fields["num_inference_steps"].range.most, 9);
  EXPECT_EQ(fields["width"].range.most, 64);
  EXPECT_EQ(fields["negative_prompt_3"].range.most, 5);
  EXPECT_EQ(fields["true_cfg_scale"].range.most, 2.5);
  EXPECT_EQ(fields["sigmas"].items_max, 10);
}

TEST(RequestFields, PicturesAreListedOnceAndCounted) {
  std::set<std::string_view> names, options;
  each_picture(GenerateRequest(), [&](const PictureInfo& picture, const auto&) {
    EXPECT_TRUE(names.insert(picture.name).second && options.insert(picture.option).second) << picture.name;
  });
  EXPECT_THAT(picture_parts(), testing::ElementsAre("image", "mask"));
  GenerateRequest request;
  EXPECT_TRUE(all_pictures(request).empty());
  const auto picture = std::make_shared<const Image>(Image{1, 1, 3, {1, 2, 3}});
  request.mask = picture;
  request.references = {picture, picture};
  EXPECT_EQ(all_pictures(request).size(), 3);
}

TEST(RequestJson, ARowComesBackAsItWas) {
  const GenerateRequest request = full_request();
  json::object row;
  write_request(request, row);
  each_field(request, [&](const FieldInfo& field, const auto&) {
    const json::value* const value = row.if_contains(json::string_view(field.name.data(), field.name.size()));
    EXPECT_TRUE(value && !value->is_null()) << field.name;
  });
  GenerateRequest read;
  read_request(row, read);
  json::object again;
  write_request(read, again);
  EXPECT_EQ(again, row);
  EXPECT_EQ(read.seeds, request.seeds);
  EXPECT_EQ(read.loras[0].text_weight, 0.5);
}

TEST(RequestJson, AnOlderRowLacksFieldsAndADamagedOneThrows) {
  json::object row;
  write_request(full_request(), row);
  for (const char* name : {"flow_shift", "loras", "timesteps", "clip_skip", "variation_seeds"})
    row.erase(name);
  GenerateRequest read;
  read_request(row, read);
  EXPECT_EQ(read.flow_shift, std::nullopt);
  EXPECT_TRUE(read.loras.empty() && read.timesteps.empty());
  row["eta"] = "much";
  EXPECT_THROW(read_request(row, read), std::exception);
  row.erase("eta");
  row.erase("prompt");
  EXPECT_THROW(read_request(row, read), std::exception);
}

TEST(PictureText, HoldsEveryFieldThatSaysSomething) {
  Recipe recipe{full_request(), {}, "1.0", {{"Hires steps", "3"}}};
  const auto text_of = [](const Recipe& made) {
    return json::parse(picture_texts(made, 7, Image{64, 32, 3, {}}).at(1).text).as_object();
  };
  const json::object full = text_of(recipe);
  each_field(recipe.request, [&](const FieldInfo& field, const auto&) {
    EXPECT_TRUE(full.contains(json::string_view(field.name.data(), field.name.size()))) << field.name;
  });
  EXPECT_EQ(full.at("Hires steps"), "3");
  recipe.request = {};
  recipe.request.prompt = "x";
  recipe.request.clip_skip = 0;
  recipe.extra.clear();
  EXPECT_EQ(text_of(recipe), json::parse(R"({"prompt": "x", "model": "", "seed": 7, "num_inference_steps": 0,
      "guidance_scale": 0, "scheduler": "", "width": 64, "height": 32, "version": "1.0"})"));
}

// As A1111's programs read it.
TEST(PictureText, SaysInA1111sWordsWhatTheyAskedFor) {
  Recipe recipe{{}, {}, "1.0", {{"Hires upscale", "2"}}};
  GenerateRequest& request = recipe.request;
  request.model = "demo";
  request.prompt = "a fox";
  request.negative_prompt = "snow";
  request.loras = {{"ink", 0.5, std::nullopt}, {"cute", 1, 0.25}};
  request.scheduler = "DPMSolverMultistepScheduler:karras";
  request.num_inference_steps = 8;
  request.guidance_scale = 4.5;
  request.strength = 0.6;
  request.clip_skip = 1;
  EXPECT_EQ(infotext(recipe, 7, Image{64, 32, 3, {}}),
            "a fox<lora:ink:0.5><lora:cute:0.25:1>\nNegative prompt: snow\nSteps: 8, Sampler: DPM++ 2M, "
            "Schedule type: Karras, CFG scale: 4.5, Seed: 7, Size: 64x32, Model: demo, Denoising strength: "
            "0.6, Clip skip: 2, Hires upscale: 2, Version: diffused 1.0");
}

}  // namespace
}  // namespace diffused
