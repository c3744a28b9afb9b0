#include "api/sdapi/board.h"

#include <gtest/gtest.h>

#include "support/fake_dispatcher.h"

namespace diffused::api {
namespace {

TEST(SdBoard, TellsEachUserOfTheirOwnOldestGeneration) {
  SdBoard board;
  EXPECT_EQ(board.progress("anna").jobs, 0u);
  auto first = std::make_unique<SdBoard::Run>(board, "anna", 2, 1, 100);
  auto second = std::make_unique<SdBoard::Run>(board, "anna", 1, 1, 101);
  const SdBoard::Run other(board, "berta", 1, 1, 102);
  first->take(StepDone{0, 3, 4}, 0);
  first->take(StepDone{1, 1, 4}, 0);
  first->take(PreviewReady{0, 3, plain_image(8, 8, 1)}, 0);
  SdProgress progress = board.progress("anna");
  EXPECT_EQ(progress.jobs, 2u);
  EXPECT_EQ(progress.progress, 0.5);
  EXPECT_EQ(progress.step, 3);
  EXPECT_EQ(progress.steps, 4);
  EXPECT_EQ(progress.started, 100);
  EXPECT_EQ(progress.preview->width, 8);
  first->take(ImageReady{0, 1, {}}, 0);
  progress = board.progress("anna");
  EXPECT_EQ(progress.progress, 0.625);
  EXPECT_EQ(progress.step, 1);
  EXPECT_EQ(progress.images_done, 1u);
  EXPECT_FALSE(board.progress("berta").preview);
  first.reset();
  EXPECT_EQ(board.progress("anna").started, 101);
  second.reset();
  EXPECT_EQ(board.progress("anna").jobs, 0u);
}

TEST(SdBoard, InterruptsAUsersGenerationsAndNobodyElses) {
  SdBoard board;
  SdBoard::Run mine(board, "anna", 1, 1, 0), late(board, "anna", 1, 1, 0), other(board, "berta", 1, 1, 0);
  int finished = 0;
  mine.set_finish([&](std::size_t images) { finished += images == std::size_t(-1) ? 1 : 10; });
  other.set_finish([&](std::size_t) { finished += 100; });
  board.interrupt("anna");
  EXPECT_EQ(finished, 1);
  board.interrupt("anna");
  board.skip("anna");
  EXPECT_EQ(finished, 1);
  // A job that begins after its generation was interrupted ends at once.
  late.set_finish([&](std::size_t) { ++finished; });
  EXPECT_EQ(finished, 2);
  EXPECT_TRUE(mine.interrupted());
  EXPECT_FALSE(other.interrupted());
}

TEST(SdBoard, SkipsTheBatchThatIsMadeAndNoOther) {
  SdBoard board;
  SdBoard::Run run(board, "anna", 6, 2, 0);
  std::vector<std::size_t> ends;
  run.set_finish([&](std::size_t images) { ends.push_back(images); });
  board.skip("anna");  // nothing is begun
  board.skip("berta");
  EXPECT_TRUE(ends.empty());
  run.take(StepDone{1, 1, 4}, 0);
  board.skip("anna");
  EXPECT_EQ(ends, (std::vector<std::size_t>{2}));
  EXPECT_TRUE(run.skipped(1));
  EXPECT_FALSE(run.skipped(2));
  run.take(ImageReady{2, 1, {}}, 0);
  board.skip("anna");  // of the next batch one is done and the other not begun
  EXPECT_EQ(ends.size(), 1u);
  run.take(StepDone{3, 1, 4}, 0);
  board.skip("anna");
  EXPECT_EQ(ends, (std::vector<std::size_t>{2, 4}));
  run.take(StepDone{0, 2, 4}, 4);
  board.skip("anna");
  EXPECT_EQ(ends.back(), 6u);
}

TEST(SdBoard, ForgetsTheChoicesMadeLongAgo) {
  SdBoard board;
  board.choose("first", {"a", "jpg"});
  for (int i = 0; i < 999; ++i) board.choose("user" + std::to_string(i), {"b", ""});
  EXPECT_EQ(board.options("first").checkpoint, "a");
  EXPECT_EQ(board.options("first").samples_format, "jpg");
  board.choose("one more", {"c", ""});
  EXPECT_EQ(board.options("first").checkpoint, "");
  EXPECT_EQ(board.options("user0").checkpoint, "b");
}

}  // namespace
}  // namespace diffused::api
