// The worker's life, with a stand-in that speaks its protocol: tests/diffusers/stand_in.
#include "diffusers/worker.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <array>
#include <thread>

#include "diffusers/diffusers_pipeline.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused::diffusers {
namespace {

using namespace std::chrono_literals;

WorkerOptions options(const std::string& behaviour) {
  WorkerOptions made;
  made.python = "/usr/bin/python3";
  made.program = test::source_folder() / "tests/diffusers/stand_in";
  made.folder = std::filesystem::path("/nowhere") / behaviour;
  made.name = behaviour;
  made.load_max = 60s;
  made.unit_max = 60s;
  made.rest_min = 1ms;
  return made;
}

GenerateRequest a_fox() {
  GenerateRequest request;
  request.prompt = "a fox";
  request.seeds = {1};
  return request;
}

// One picture by the interface that the engine uses.
Result<Image> make(Pipeline& pipeline) {
  TRY(const GenerateRequest resolved, pipeline.resolve(a_fox()));
  TRY(const auto row, pipeline.begin(resolved, 0));
  std::array<Row*, 1> rows{row.get()};
  while (row->next().kind != UnitKind::done) pipeline.run(rows);
  return pipeline.take(*row);
}

// As a client that comes back when told to.
Result<Image> make_patiently(Pipeline& pipeline) {
  for (int i = 0; i < 2000; ++i) {
    auto made = make(pipeline);
    if (made || made.error().reason != "worker_ended") return made;
    std::this_thread::sleep_for(5ms);  // until the process is there again
  }
  return fail(ErrorCode::deadline, "it never came back");
}

TEST(DiffusersPipeline, MakesAPictureInUnits) {
  auto pipeline = load_pipeline(options("good"));
  ASSERT_TRUE(pipeline) << pipeline.error().message;
  EXPECT_EQ((*pipeline)->info().engine, "diffusers");
  EXPECT_EQ((*pipeline)->info().weight_bytes(), 12345u);
  const auto resolved = (*pipeline)->resolve(a_fox());
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->width, 16);
  const auto row = (*pipeline)->begin(*resolved, 0);
  ASSERT_TRUE(row);
  EXPECT_EQ((*row)->next().kind, UnitKind::encode);
  EXPECT_TRUE((*row)->next().alone);
  std::array<Row*, 1> rows{row->get()};
  (*pipeline)->run(rows);
  EXPECT_EQ((*row)->next().kind, UnitKind::step);
  EXPECT_EQ((*row)->step(), 1);
  (*pipeline)->run(rows);
  (*pipeline)->run(rows);
  EXPECT_EQ((*row)->next().kind, UnitKind::done);
  const auto image = (*pipeline)->take(**row);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->pixels, (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 1}));
}

TEST(DiffusersPipeline, ADroppedRowLeavesTheWorker) {
  auto pipeline = load_pipeline(options("good"));
  ASSERT_TRUE(pipeline);
  {
    const auto row = (*pipeline)->begin(*(*pipeline)->resolve(a_fox()), 0);
    std::array<Row*, 1> rows{row->get()};
    (*pipeline)->run(rows);
  }
  const auto image = make(**pipeline);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->pixels.back(), 1) << "rows that the worker still has";
}

TEST(DiffusersPipeline, WhatTheWorkerRefusesIsTheRowsError) {
  auto pipeline = load_pipeline(options("fails"));
  ASSERT_TRUE(pipeline);
  const auto made = make(**pipeline);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(made.error().field, "width");
}

TEST(Worker, WhatCannotBeLoadedIsOneSentence) {
  EXPECT_EQ(Worker::start(options("refused")).error().message, "it is refused");
  EXPECT_EQ(Worker::start(options("dies_at_load")).error().code, ErrorCode::unavailable);
  EXPECT_EQ(Worker::start(options("other_shape")).error().code, ErrorCode::data_loss);
  WorkerOptions nobody = options("good");
  nobody.python = "/nowhere/python3";
  EXPECT_EQ(Worker::start(nobody).error().code, ErrorCode::not_found);
  nobody = options("good");
  nobody.program = "/nowhere/diffused_worker";
  EXPECT_EQ(Worker::start(nobody).error().code, ErrorCode::unavailable);
}

TEST(Worker, IsStartedAgainAfterACrash) {
  const TemporaryFolder folder;
  setenv("PYTHON_STAND_IN_MARKER", (folder.path() / "crashed").c_str(), 1);
  auto pipeline = load_pipeline(options("crashes_once"));
  ASSERT_TRUE(pipeline);
  const auto first = make(**pipeline);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, ErrorCode::unavailable);
  EXPECT_EQ(first.error().reason, "worker_ended");
  EXPECT_TRUE(make_patiently(**pipeline));
}

TEST(Worker, StaysAwayAfterThreeStrikes) {
  const TemporaryFolder folder;
  setenv("PYTHON_STAND_IN_MARKER", (folder.path() / "crashed").c_str(), 1);
  auto pipeline = load_pipeline(options("crashes"));
  ASSERT_TRUE(pipeline);
  const auto made = make_patiently(**pipeline);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason, "worker_out");
}

TEST(Worker, AHangIsAnEnd) {
  WorkerOptions slow = options("hangs");
  slow.unit_max = 1s;
  auto pipeline = load_pipeline(slow);
  ASSERT_TRUE(pipeline);
  EXPECT_EQ(make(**pipeline).error().reason, "worker_ended");
}

TEST(Worker, ARowOfAProcessThatIsGoneFailsAlone) {
  const TemporaryFolder folder;
  setenv("PYTHON_STAND_IN_MARKER", (folder.path() / "crashed").c_str(), 1);
  auto pipeline = load_pipeline(options("crashes_once"));
  ASSERT_TRUE(pipeline);
  const auto old = (*pipeline)->begin(*(*pipeline)->resolve(a_fox()), 0);
  ASSERT_TRUE(old);
  EXPECT_FALSE(make(**pipeline));
  EXPECT_TRUE(make_patiently(**pipeline));
  std::array<Row*, 1> rows{old->get()};
  (*pipeline)->run(rows);
  EXPECT_EQ((*pipeline)->take(**old).error().reason, "worker_ended");
}

}  // namespace
}  // namespace diffused::diffusers
