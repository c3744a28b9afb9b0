#include "base/give_way.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace diffused {
namespace {

TEST(GiveWay, WithoutAHostNothingHappens) {
  EXPECT_FALSE(has_host());
  give_way();
}

TEST(GiveWay, CallsTheInnermostHostOfItsThread) {
  std::string heard;
  const ThreadHost outer([&](WorkElsewhere*) { heard += 'o'; });
  give_way();
  {
    const ThreadHost inner([&](WorkElsewhere*) { heard += 'i'; });
    give_way();
    const ThreadHost nobody(nullptr);
    EXPECT_FALSE(has_host());
    give_way();
  }
  give_way();
  std::thread([] { EXPECT_FALSE(has_host()); }).join();
  EXPECT_EQ(heard, "oio");
}

TEST(GiveWay, TellsOfWorkElsewhereAndPassesOnWhatIsThrown) {
  struct Machine : WorkElsewhere {
    void halt() override { halted = true; }
    void resume() override { halted = false; }
    bool halted = false;
  } machine;
  const ThreadHost host([](WorkElsewhere* work) {
    work->halt();
    throw 7;
  });
  EXPECT_THROW(give_way(&machine), int);
  EXPECT_TRUE(machine.halted);
}

}  // namespace
}  // namespace diffused
