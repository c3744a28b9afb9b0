// Steps that need not be made, in pipelines of every kind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipelines/rows_independent.h"
#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

using ::testing::HasSubstr;

GenerateRequest cached(double threshold, int steps = 20) {
  GenerateRequest request = request_of("a fox");
  request.num_inference_steps = steps;
  request.cache = StepCache{kEasyCache, threshold};
  return request;
}

// How many units a row's steps take, and how many it skips.
struct Count {
  int units = 0, skipped = 0;
  Image image = {};
};
Count count(Pipeline& pipeline, const GenerateRequest& request) {
  Count count;
  const auto row = begin(pipeline, request);
  while (row->next().kind != UnitKind::done) {
    if (row->next().kind == UnitKind::step) ++count.units;
    run_unit(pipeline, *row);
  }
  EXPECT_EQ(row->step(), row->steps());
  count.skipped = row->steps_skipped();
  count.image = pipeline.take(*row).value();
  return count;
}

TEST(StepCaches, SpareStepsAndSayHowMany) {
  const auto pipeline = load_tiny();
  const Count few = count(*pipeline, cached(1)), many = count(*pipeline, cached(5));
  for (const Count& each : {few, many}) EXPECT_EQ(each.units + each.skipped, 20);
  EXPECT_GT(few.skipped, 0);
  EXPECT_GT(many.skipped, few.skipped);
  EXPECT_LE(many.skipped, 20 - 3 - 1);  // the first 15 % are made, and the last
  EXPECT_EQ(pipeline->stats().steps_skipped, static_cast<std::uint64_t>(few.skipped + many.skipped));
}

TEST(StepCaches, LeaveAPictureAsItIsWhereNoStepIsSkipped) {
  const auto pipeline = load_tiny();
  GenerateRequest plain = cached(1, 3);
  const Count none = count(*pipeline, plain);
  EXPECT_EQ(none.skipped, 0);  // three steps: two to learn from, and the last
  plain.cache = StepCache{};
  EXPECT_EQ(count(*pipeline, plain).image.pixels, none.image.pixels);
  GenerateRequest long_run = cached(1e-9);
  const Count made = count(*pipeline, long_run);
  long_run.cache.reset();
  EXPECT_EQ(made.skipped, 0);
  EXPECT_EQ(count(*pipeline, long_run).image.pixels, made.image.pixels);
}

TEST(StepCaches, ArePerModelWhereARequestSaysNothing) {
  LoadOptions options{.dtype = "fp32"};
  options.cache = StepCache{kEasyCache, 0.5};
  const auto pipeline = load_tiny(kData / "tiny_sd3", options);
  EXPECT_EQ(pipeline->info().default_cache, options.cache);
  GenerateRequest request = cached(0.5);
  const Count asked = count(*pipeline, request);
  request.cache.reset();
  EXPECT_EQ(count(*pipeline, request).image.pixels, asked.image.pixels);
  request.cache = StepCache{kNoCache};
  EXPECT_EQ(count(*pipeline, request).skipped, 0);
}

TEST(StepCaches, RefuseAModeThatTheModelLacks) {
  const auto pipeline = load_tiny();
  GenerateRequest request = cached(0.1);
  request.cache->mode = "lazy";
  const auto resolved = pipeline->resolve(request);
  ASSERT_FALSE(resolved);
  EXPECT_EQ(resolved.error().field, "cache");
  EXPECT_THAT(resolved.error().message, HasSubstr("none, easy"));
}

// The first steps with guidance and those after it has ended are other calls: the first without it is made.
TEST(StepCaches, MakeTheFirstStepOfOtherCalls) {
  const auto pipeline = load_tiny(kData / "tiny_z_image");
  GenerateRequest request = cached(10, 12);
  request.cfg_truncation = 0.6;
  const auto row = begin(*pipeline, request);
  std::vector<int> made;
  while (row->next().kind != UnitKind::decode) {
    if (row->next().kind == UnitKind::step) made.push_back(row->step());
    run_unit(*pipeline, *row);
  }
  EXPECT_EQ(made.size(), 4u);  // two, the first without guidance, the last
  EXPECT_EQ(made.back(), 11);
}

class CachesOfModels : public testing::TestWithParam<const char*> {};

TEST_P(CachesOfModels, KeepRowsIndependent) {
  const auto pipeline = load_tiny(kData / GetParam());
  const std::vector<std::string>& names = pipeline->info().schedulers;
  std::vector<const char*> schedulers;
  for (const std::string& name : names) schedulers.push_back(name.c_str());
  const bool edits = pipeline->info().image_to_image && pipeline->info().inpaint;
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 6; ++i) {
    GenerateRequest request = cached(1);
    if (edits) request = vary(request, i, schedulers);
    request.seeds = {static_cast<std::uint64_t>(100 + i)};
    request.num_inference_steps = 8 + 2 * i;
    if (i % 2 == 1) request.cache = StepCache{};
    requests.push_back(std::move(request));
  }
  expect_rows_independent(*pipeline, requests);
  EXPECT_GT(pipeline->stats().steps_skipped, 0u);
}

INSTANTIATE_TEST_SUITE_P(Each, CachesOfModels,
                         testing::Values("tiny_sd3", "tiny_z_image", "tiny_klein", "tiny_sd", "tiny_xl"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace diffused::pipelines
