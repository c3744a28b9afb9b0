#include "pipelines/upscaler/upscaler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "pipelines/tiny_model.h"
#include "pipelines/upscaler/tiles.h"
#include "support/tiny_upscaler.h"

namespace diffused::pipelines {
namespace {

using test::TinyUpscaler;
using ::testing::HasSubstr;

class Upscalers : public testing::Test {
 protected:
  std::filesystem::path write(const test::NamedTensors& tensors) const {
    write_file(folder_.path() / "net.safetensors", test::safetensors_file(tensors));
    return folder_.path() / "net.safetensors";
  }
  std::unique_ptr<Pipeline> load(const test::NamedTensors& tensors) const {
    auto loaded = load_upscaler(write(tensors), {.dtype = "fp32", .variant = ""});
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(loaded).value();
  }
  static Image enlarged(Pipeline& pipeline, std::shared_ptr<const Image> image) {
    GenerateRequest request;
    request.init_image = std::move(image);
    request.seeds = {0};
    return picture(pipeline, request);
  }

  TemporaryFolder folder_;
};

// The tensors under other names: each pattern that fits is replaced.
test::NamedTensors renamed(test::NamedTensors tensors,
                           const std::vector<std::pair<std::string, std::string>>& patterns) {
  for (auto& [name, tensor] : tensors)
    for (const auto& [pattern, replacement] : patterns) {
      const std::string other = std::regex_replace(name, std::regex("^" + pattern), replacement);
      if (other == name) continue;
      name = other;
      break;
    }
  return tensors;
}

TEST_F(Upscalers, AreTheSameUnderEverySetOfNames) {
  const auto tensors = TinyUpscaler{}.tensors();
  const auto image = stripes(20, 14, 3);
  const Image wanted = enlarged(*load(tensors), image);
  EXPECT_EQ(wanted.width, 80);
  EXPECT_EQ(wanted.height, 56);
  const std::vector<std::vector<std::pair<std::string, std::string>>> namings = {
      {{"", "params_ema."}},
      {{"body\\.(\\d+)\\.rdb", "RRDB_trunk.$1.RDB"},
       {"conv_body", "trunk_conv"},
       {"conv_up", "upconv"},
       {"conv_hr", "HRconv"}},
      {{"conv_first", "model.0"},
       {"body\\.(\\d+)\\.rdb(\\d)\\.conv(\\d)", "model.1.sub.$1.RDB$2.conv$3.0"},
       {"conv_body", "model.1.sub.2"},
       {"conv_up1", "model.3"},
       {"conv_up2", "model.6"},
       {"conv_hr", "model.8"},
       {"conv_last", "model.10"}},
  };
  for (const auto& naming : namings)
    EXPECT_EQ(enlarged(*load(renamed(tensors, naming)), image).pixels, wanted.pixels) << naming[0].second;
}

TEST_F(Upscalers, SayHowManyTimesLargerTheyMakePictures) {
  EXPECT_EQ(load(TinyUpscaler{.doublings = 1}.tensors())->info().enlarges, 2);
  EXPECT_EQ(load(TinyUpscaler{.doublings = 3}.tensors())->info().enlarges, 8);
  EXPECT_EQ(load(TinyUpscaler{.unshuffle = 4}.tensors())->info().enlarges, 1);
  const auto twice = load(TinyUpscaler{.unshuffle = 2}.tensors());
  EXPECT_EQ(twice->info().enlarges, 2);
  EXPECT_GT(twice->info().weight_bytes(), 0u);
  // Also a picture whose sides are no multiples of what it takes as one pixel.
  const Image image = enlarged(*twice, stripes(7, 1, 3));
  EXPECT_EQ(image.width, 14);
  EXPECT_EQ(image.height, 2);
}

// The network sees 35 convolutions far, but what is far away counts for little.
TEST_F(Upscalers, MakeALargePictureInTilesWithoutSeams) {
  const auto pipeline = load(TinyUpscaler{.blocks = 1}.tensors());
  const auto image = stripes(230, 40, 3);
  const Image whole = enlarged(*pipeline, image);
  ASSERT_EQ(whole.width, 920);
  // What lies around the seam at pixel 192, as one tile.
  const auto middle = std::make_shared<const Image>(cut_out(*image, {150, 0, 80, 40}));
  const Image part = enlarged(*pipeline, middle);
  const Image there = cut_out(whole, {4 * 176, 0, 4 * 32, 160}),
              here = cut_out(part, {4 * 26, 0, 4 * 32, 160});
  int largest = 0;
  for (std::size_t i = 0; i < there.pixels.size(); ++i)
    largest = std::max(largest, std::abs(there.pixels[i] - here.pixels[i]));
  EXPECT_LE(largest, 2);
}

TEST_F(Upscalers, WorkInShortUnitsThatGiveTheSameInAnyOrder) {
  const auto pipeline = load(TinyUpscaler{}.tensors());
  GenerateRequest request;
  request.seeds = {0};
  request.init_image = stripes(200, 20, 4);
  const auto one = begin(*pipeline, request);
  request.init_image = stripes(30, 200, 1);
  const auto other = begin(*pipeline, request);
  EXPECT_EQ(one->steps(), 2);
  EXPECT_NE(one->next().key, other->next().key);
  double flops = 0;
  int units = 0;
  for (; one->next().kind != UnitKind::done; ++units) {
    flops += one->next().cost_flops;
    EXPECT_LE(one->next().cost_flops, pipeline->unit_flops(request));
    run_unit(*pipeline, *one);
    if (other->next().kind != UnitKind::done) run_unit(*pipeline, *other);
  }
  EXPECT_EQ(units, 4);
  request.init_image = stripes(200, 20, 4);
  EXPECT_NEAR(flops, pipeline->cost_flops(*pipeline->resolve(request)), flops * 1e-9);
  EXPECT_EQ(pipeline->take(*one)->pixels, enlarged(*pipeline, stripes(200, 20, 4)).pixels);
  EXPECT_FALSE(pipeline->finish_early(*begin(*pipeline, request)).value());
}

TEST_F(Upscalers, RefuseWhatIsNone) {
  const auto refused = [&](const test::NamedTensors& tensors) {
    const auto loaded = load_upscaler(write(tensors), {.dtype = "fp32", .variant = ""});
    return loaded ? std::string("loaded") : loaded.error().message;
  };
  auto tensors = TinyUpscaler{}.tensors();
  tensors.emplace_back("body.0.rdb1.conv1x1.weight", at::ones({8, 16, 1, 1}));
  EXPECT_THAT(refused(tensors), HasSubstr("body.0.rdb1.conv1x1.weight' is no part of ESRGAN's network"));
  tensors = TinyUpscaler{}.tensors();
  std::erase_if(tensors, [](const auto& tensor) { return tensor.first == "conv_hr.weight"; });
  EXPECT_THAT(refused(tensors), HasSubstr("conv_hr.weight"));
  EXPECT_THAT(refused({{"transformer.weight", at::ones({1})}}), HasSubstr("no upscaler"));
  EXPECT_THAT(refused(TinyUpscaler{.doublings = 1, .unshuffle = 4}.tensors()), HasSubstr("smaller"));
  write_file(folder_.path() / "net.pth", "\x80\x02}q\x00X");
  EXPECT_THAT(load_upscaler(folder_.path() / "net.pth", {}).error().message, HasSubstr("pickle"));
  GenerateRequest nothing;
  nothing.seeds = {0};
  EXPECT_EQ(load(TinyUpscaler{}.tensors())->resolve(nothing).error().field, "image");
}

TEST(UpscalerLabel, IsWhatClientsCallThePublishedFiles) {
  EXPECT_EQ(upscaler_label("RealESRGAN_x4plus"), "R-ESRGAN 4x+");
  EXPECT_EQ(upscaler_label("4x-UltraSharp"), "4x-UltraSharp");
}

TEST(Tiles, CoverAPictureOnce) {
  const auto tiles = tiles_of(300, 200, 192, 16);
  ASSERT_EQ(tiles.size(), 4u);
  EXPECT_EQ(tiles[0].made, (Box{0, 0, 192, 192}));
  EXPECT_EQ(tiles[0].seen, (Box{0, 0, 208, 200}));
  EXPECT_EQ(tiles[3].made, (Box{192, 192, 108, 8}));
  EXPECT_EQ(tiles[3].seen, (Box{176, 176, 124, 24}));
  EXPECT_EQ(tiles_of(1, 1, 192, 16)[0].seen, (Box{0, 0, 1, 1}));
}

}  // namespace
}  // namespace diffused::pipelines
