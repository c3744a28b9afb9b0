#include "app/request_options.h"

#include <gtest/gtest.h>

#include "parameters/request_fields.h"

namespace diffused::app {
namespace {

struct Command {
  CLI::App program;
  GenerateRequest request;
  PictureFiles files;

  Command() {
    add_request_options(program, request);
    add_picture_options(program, files);
  }
  void read(std::vector<std::string> words) {
    std::ranges::reverse(words);  // as CLI11 wants them
    program.parse(words);
  }
};

TEST(RequestOptions, NameEveryFieldAndEveryPictureOfTheList) {
  Command command;
  const auto has = [&](std::string_view name) {
    std::string option = "--" + std::string(name);
    std::ranges::replace(option, '_', '-');
    return command.program.get_option_no_throw(option) != nullptr;
  };
  each_field(command.request, [&](const FieldInfo& field, const auto&) {
    const std::string_view option = field.option.empty() ? field.name : field.option;
    EXPECT_TRUE(field.name == "prompt" || field.name == "cache" || has(option)) << field.name;
  });
  each_picture(command.request,
               [&](const PictureInfo& picture, const auto&) { EXPECT_TRUE(has(picture.option)); });
}

TEST(RequestOptions, AreReadAsTheFieldsTheyAre) {
  Command command;
  command.read({"--flow-shift", "2.5", "--steps", "4", "--sigmas", "1,0.5", "--original-size", "64", "32",
                "--skip-guidance-layers", "7", "--prompt-syntax", "a1111", "--scheduler", "euler",
                "--negative-prompt", "snow", "--width", "48"});
  const GenerateRequest& request = command.request;
  EXPECT_EQ(request.flow_shift, 2.5);
  EXPECT_EQ(request.num_inference_steps, 4);
  EXPECT_EQ(request.sigmas, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(request.original_size, (std::array<int, 2>{64, 32}));
  EXPECT_EQ(request.skip_guidance_layers, std::vector<int>{7});
  EXPECT_EQ(request.prompt_syntax, "a1111");
  EXPECT_EQ(request.scheduler, "euler");
  EXPECT_EQ(request.negative_prompt, "snow");
  EXPECT_EQ(request.width, 48);
  EXPECT_EQ(request.eta, std::nullopt);
  EXPECT_EQ(request.target_size, std::nullopt);
}

TEST(RequestOptions, RefuseWhatIsNoValueOfTheField) {
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--prompt-syntax", "sdxl"},
                                                {"--eta", "much"},
                                                {"--target-size", "64"},
                                                {"--lora", ":1"},
                                                {"--sigmas", "1,x"}}) {
    Command command;
    EXPECT_THROW(command.read(wrong), CLI::ParseError) << wrong[0];
  }
}

TEST(RequestOptions, PicturesAreFilesAndReferencesMayBeSeveral) {
  Command command;
  command.read({"--image", "a.png", "--reference", "b.png", "--reference", "c.png"});
  EXPECT_EQ(command.files.at("init_image"), std::vector<std::string>{"a.png"});
  EXPECT_EQ(command.files.at("references"), (std::vector<std::string>{"b.png", "c.png"}));
  EXPECT_TRUE(command.files.at("mask").empty());
  Command twice;
  EXPECT_THROW(twice.read({"--mask", "a.png", "--mask", "b.png"}), CLI::ParseError);
}

TEST(RequestOptions, LorasHaveWeightsAfterTheirNames) {
  Command command;
  command.read({"--lora", "ink", "--lora", "style/paper:0.5", "--lora", "a:b:0.25:-1", "--lora", "a:b"});
  const auto& loras = command.request.loras;
  ASSERT_EQ(loras.size(), 4);
  EXPECT_EQ(loras[0].name, "ink");
  EXPECT_EQ(loras[0].weight, 1);
  EXPECT_EQ(loras[1].name, "style/paper");
  EXPECT_EQ(loras[1].weight, 0.5);
  EXPECT_EQ(loras[1].text_weight, std::nullopt);
  EXPECT_EQ(loras[2].name, "a:b");
  EXPECT_EQ(loras[2].weight, 0.25);
  EXPECT_EQ(loras[2].text_weight, -1);
  EXPECT_EQ(loras[3].name, "a:b");
}

}  // namespace
}  // namespace diffused::app
