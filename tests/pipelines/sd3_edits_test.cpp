// Image-to-image and inpainting: what a request with a picture means, and what becomes of it. Their pictures
// are held against Diffusers' in sd3_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "image/channels.h"
#include "pipelines/latent_source.h"
#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

GenerateRequest edit_of(int steps, double strength) {
  auto request = request_of("a fox");
  start_from_picture(request, 64, 64);
  request.num_inference_steps = steps;
  request.strength = strength;
  return request;
}

TEST(Sd3Edits, LeaveOutStepsAsDiffusersDoes) {
  // Python: int(max(steps - min(steps * strength, steps), 0))
  const auto skipped = [](int steps, double strength) {
    return steps_left_out(StrengthRule::skip_whole_steps, steps, strength);
  };
  EXPECT_EQ(skipped(5, 0.5), 2);
  EXPECT_EQ(skipped(10, 0.3), 7);
  EXPECT_EQ(skipped(28, 0.6), 11);
  EXPECT_EQ(skipped(4, 1.0), 0);
  EXPECT_EQ(skipped(4, 0.0), 4);
  EXPECT_EQ(skipped(10, 0.7), 3);
  EXPECT_EQ(skipped(3, 0.1), 2);
  // The older pipelines: max(steps - min(int(steps * strength), steps), 0)
  const auto not_made = [](int steps, double strength) {
    return steps_left_out(StrengthRule::make_whole_steps, steps, strength);
  };
  EXPECT_EQ(not_made(5, 0.5), 3);
  EXPECT_EQ(not_made(10, 0.3), 7);
  EXPECT_EQ(not_made(28, 0.6), 12);
  EXPECT_EQ(not_made(4, 1.0), 0);
  EXPECT_EQ(not_made(3, 0.1), 3);
}

TEST(Sd3Edits, TakeOnlyTheStepsThatStrengthLeaves) {
  const auto pipeline = load_tiny();
  const auto steps = [&](GenerateRequest request) { return begin(*pipeline, request)->steps(); };
  EXPECT_EQ(steps(edit_of(10, 0.3)), 3);
  EXPECT_EQ(steps(edit_of(10, 1.0)), 10);
  auto heun = edit_of(10, 0.3);
  heun.scheduler = "FlowMatchHeunDiscreteScheduler";
  EXPECT_EQ(steps(heun), 5);  // two calls of the network a step, one for the last
}

TEST(Sd3Edits, LeaveThePictureAsItIsWhenNoStepIsLeft) {
  const auto pipeline = load_tiny();
  for (const char* scheduler : {"", "FlowMatchHeunDiscreteScheduler"}) {
    auto request = edit_of(4, 0.0);
    request.scheduler = scheduler;
    request.mask = stripes(64, 64, 1);
    const auto row = begin(*pipeline, request);
    EXPECT_EQ(row->steps(), 0);
    EXPECT_EQ(row->next().kind, UnitKind::done);
    EXPECT_EQ(pipeline->take(*row)->pixels, to_rgb(*request.init_image).pixels);
    EXPECT_EQ(pipeline->cost_flops(pipeline->resolve(request).value()), 0);
  }
}

TEST(Sd3Edits, FinishEarlyAsTheLatestStepGuessesAndKeepWhatTheMaskKeeps) {
  const auto pipeline = load_tiny();
  auto request = edit_of(10, 0.8);
  request.mask = std::make_shared<const Image>(Image{64, 64, 1, std::vector<std::uint8_t>(64 * 64, 0)});
  const auto row = begin(*pipeline, request);
  EXPECT_FALSE(pipeline->finish_early(*row).value());  // not even encoded
  run_unit(*pipeline, *row);
  EXPECT_FALSE(pipeline->finish_early(*row).value());
  EXPECT_EQ(row->next().kind, UnitKind::step);
  run_unit(*pipeline, *row);
  EXPECT_TRUE(pipeline->finish_early(*row).value());
  EXPECT_TRUE(pipeline->finish_early(*row).value());
  EXPECT_EQ(row->next().kind, UnitKind::decode);
  const Image early = finish(*pipeline, *row);
  // Nothing is repainted: what comes is what the autoencoder makes of the picture, however many steps are
  // done.
  EXPECT_EQ(early.pixels, finish(*pipeline, *begin(*pipeline, request)).pixels);
}

TEST(Sd3Edits, StartAtDiffusersStrengthUnlessItIsSaid) {
  const auto pipeline = load_tiny();
  auto request = edit_of(10, 0.3);
  request.strength.reset();
  EXPECT_EQ(pipeline->resolve(request)->strength, 0.6);
}

TEST(Sd3Edits, CostMoreToBeginAndLessToGoOn) {
  const auto pipeline = load_tiny();
  const auto cost = [&](const GenerateRequest& request) {
    return pipeline->cost_flops(pipeline->resolve(request).value());
  };
  auto plain = request_of("a fox");
  plain.num_inference_steps = 40;
  EXPECT_GT(cost(edit_of(40, 1.0)), cost(plain));
  EXPECT_LT(cost(edit_of(40, 0.2)), cost(plain));
}

TEST(Sd3Edits, AreRefusedByField) {
  const auto pipeline = load_tiny();
  const auto refused = [&](const GenerateRequest& request) {
    const auto resolved = pipeline->resolve(request);
    return resolved ? "accepted" : resolved.error().field;
  };
  EXPECT_EQ(refused(edit_of(4, 0.5)), "accepted");
  EXPECT_EQ(refused(edit_of(4, -0.1)), "strength");
  EXPECT_EQ(refused(edit_of(4, 1.1)), "strength");
  EXPECT_EQ(refused(edit_of(4, std::nan(""))), "strength");
  EXPECT_EQ(refused(edit_of(1, 0.999)), "accepted");
  auto mask_alone = request_of("a fox");
  mask_alone.mask = stripes(64, 64, 1);
  EXPECT_EQ(refused(mask_alone), "mask");
}

TEST(Sd3Edits, AreEncodedByThemselvesEvenWhenThePromptIsKnown) {
  const auto pipeline = load_tiny();
  const auto first = begin(*pipeline, edit_of(4, 0.5)), second = begin(*pipeline, edit_of(4, 0.5));
  EXPECT_EQ(first->next().kind, UnitKind::encode);
  EXPECT_NE(first->next().key, second->next().key);
  const Image image = finish(*pipeline, *first);
  EXPECT_EQ(second->next().kind, UnitKind::encode);
  EXPECT_EQ(finish(*pipeline, *second).pixels, image.pixels);
}

TEST(Sd3Edits, ShowWhereTheyStandAtEveryStep) {
  const auto pipeline = load_tiny();
  const auto row = begin(*pipeline, edit_of(10, 0.3));
  EXPECT_FALSE(pipeline->preview(*row));
  run_unit(*pipeline, *row);
  for (int step = 0; step <= 3; ++step) {
    EXPECT_EQ(row->step(), step);
    const auto preview = pipeline->preview(*row);
    ASSERT_TRUE(preview);
    EXPECT_EQ(preview->width, 8);
    if (step < 3) run_unit(*pipeline, *row);
  }
  EXPECT_EQ(row->next().kind, UnitKind::decode);
}

TEST(Sd3Edits, KeepWhatTheMaskKeeps) {
  const auto pipeline = load_tiny();
  auto request = edit_of(6, 0.9);
  const auto mask_of = [](std::uint8_t grey) {
    return std::make_shared<const Image>(Image{8, 8, 1, std::vector<std::uint8_t>(64, grey)});
  };
  const auto with_mask = [&](std::uint8_t grey, const char* prompt) {
    request.mask = mask_of(grey);
    request.prompt = prompt;
    return picture(*pipeline, request).pixels;
  };
  // 127 of 255 keeps everything, so that the prompt makes no difference; 128 repaints everything.
  EXPECT_EQ(with_mask(127, "a fox"), with_mask(0, "an owl"));
  EXPECT_NE(with_mask(128, "a fox"), with_mask(128, "an owl"));
  const auto all = with_mask(128, "a fox");
  request.mask.reset();
  EXPECT_EQ(all, picture(*pipeline, request).pixels);
}

TEST(Sd3Edits, TakePicturesOfAnyChannels) {
  const auto pipeline = load_tiny();
  auto request = edit_of(2, 0.9);
  for (const int channels : {1, 3, 4}) {
    request.init_image = stripes(30, 20, channels);
    request.mask = stripes(20, 30, channels);
    EXPECT_EQ(picture(*pipeline, request).pixels.size(), 64u * 64 * 3) << channels;
  }
}

}  // namespace
}  // namespace diffused::pipelines
